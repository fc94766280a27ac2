"""The work itself, stage by stage, as plain functions.

There is no Prefect here, and MLflow stands behind `registry` and `tracking`.
"""
