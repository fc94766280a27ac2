"""How a version is kept for MLflow: its ONNX flavour, and a function of ours that takes images.

`mlflow.onnx.load_model` gives the file itself, `mlflow.pyfunc.load_model` what `api.mlflow_model` makes of it.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

LOADER = "drillcore.api.mlflow_model"
_PINNED = ("onnx", "numpy", "pillow")
# One build for each system, as our own dependencies have it: there are none for CUDA elsewhere.
_RUNTIMES = {"onnxruntime-gpu": "sys_platform == 'linux'", "onnxruntime": "sys_platform != 'linux'"}


def requirements() -> list[str]:
    """Return what the file is loaded and asked with, each at the release that is installed here.

    Drillcore, which `mlflow.pyfunc` needs and `mlflow.onnx` does not, is among them where it can be had: what was
    installed from a folder or a file of this machine is known to no index.
    """
    runtime = next(release for name in _RUNTIMES if (release := _release(name)))
    found = [f"{name}=={runtime}; {system}" for name, system in _RUNTIMES.items()]
    found += [f"{name}=={_release(name)}" for name in _PINNED]
    return [*_drillcore(importlib.metadata.distribution("drillcore")), *found]


def _release(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # of the two builds of onnxruntime one is there
        return ""


def _drillcore(installed: importlib.metadata.Distribution) -> list[str]:
    """Return the requirement that brings drillcore as it was installed (PEP 610); nothing where none can."""
    origin = json.loads(installed.read_text("direct_url.json") or "null")
    if origin is None:  # from an index
        return [f"drillcore=={installed.version}"]
    url = str(origin["url"])
    if version_control := origin.get("vcs_info"):
        url = f"{version_control['vcs']}+{url}@{version_control['commit_id']}"
    return [] if url.startswith("file:") else [f"drillcore @ {url}"]


def save_model(path: str, mlflow_model: Any, **given: Any) -> None:
    """Write MLflow's folder of a model, as `mlflow.onnx.save_model` does; `mlflow.models.Model.log` calls it."""
    import mlflow.onnx
    from mlflow.models.model import MLMODEL_FILE_NAME

    mlflow.onnx.save_model(path=path, mlflow_model=mlflow_model, **given)
    mlflow_model.flavors["python_function"]["loader_module"] = LOADER
    mlflow_model.save(f"{path}/{MLMODEL_FILE_NAME}")
