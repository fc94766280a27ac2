"""How a version is kept for MLflow: its ONNX flavour, and a function of ours that takes images.

`mlflow.onnx.load_model` gives the file itself, `mlflow.pyfunc.load_model` what `api.mlflow_model` makes of it.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

LOADER = "drillcore.api.mlflow_model"
_PINNED = ("drillcore", "onnxruntime-gpu", "onnxruntime", "onnx", "numpy", "pillow")


def requirements() -> list[str]:
    """Return what the file is loaded and asked with, each at the release that is installed here."""
    found = []
    for name in _PINNED:
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:  # of the two builds of onnxruntime one is there
            continue
    return found


def save_model(path: str, mlflow_model: Any, **given: Any) -> None:
    """Write MLflow's folder of a model, as `mlflow.onnx.save_model` does; `mlflow.models.Model.log` calls it."""
    import mlflow.onnx
    from mlflow.models.model import MLMODEL_FILE_NAME

    mlflow.onnx.save_model(path=path, mlflow_model=mlflow_model, **given)
    mlflow_model.flavors["python_function"]["loader_module"] = LOADER
    mlflow_model.save(f"{path}/{MLMODEL_FILE_NAME}")
