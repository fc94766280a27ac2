"""drillcore from Python: load a folder of classes, train, evaluate, export and score, in any folder.

The stages are those of the command line, without Prefect, MLflow, DVC or a checkout. A model that is to be versioned,
gated and retrained by a schedule belongs into a recipe: `drillcore new`, then `drillcore retrain`.
"""
