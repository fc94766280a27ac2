"""Which extra brings a package that is not installed: what scores and serves is installed without what trains."""

from __future__ import annotations

# Modules that are imported late, by the extra of pyproject.toml that brings them.
_TRAIN = """
cyclonedx dvc dvc_data dvc_objects great_expectations markdown_it matplotlib mlflow numba prefect scipy skl2onnx
sklearn threadpoolctl timm torch torchvision
"""
MODULES = {
    "train": _TRAIN.split(),
    "serve": ["fastapi", "httptools", "multipart", "prometheus_client", "starlette", "uvicorn", "uvloop"],
    "cluster": ["dask", "distributed", "fsspec", "s3fs"],
    "geo": ["rasterio"],
    "signing": ["model_signing"],
    "similar": ["faiss"],
    "tune": ["optuna"],
    "postgres": ["psycopg"],
    "s3": ["boto3", "dvc_s3"],
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Return one line that says what to install; None where no extra brings the module."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if module in modules:
            return f"this needs {module}, which is not installed: pip install 'drillcore[{extra}]'"
    return None
