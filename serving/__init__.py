"""Batch and online scoring of exported models: onnxruntime only, no torch, scikit-learn, MLflow or Prefect."""
