"""Third-party libraries kept inside the state folder: no caches, homes or reports anywhere else, nothing sent out."""

from __future__ import annotations

import getpass
import os
import platform
from pathlib import Path

from drillcore.settings import Settings


def confine(settings: Settings) -> None:
    """Set the environment of this process and its children; called once, before a heavy library is imported.

    What the user has set stays as it is.
    """
    state = settings.state
    defaults = {
        # Homes and caches.
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(state / "prefect" / "storage"),
        "DVC_GLOBAL_CONFIG_DIR": str(state / "dvc" / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(state / "dvc" / "system"),
        "MPLCONFIGDIR": str(state / "cache" / "matplotlib"),
        "NUMBA_CACHE_DIR": str(state / "cache" / "numba"),  # nothing is kept there: its cache would be pickles
        "TORCH_HOME": str(state / "cache" / "torch"),
        "HF_HOME": str(state / "cache" / "huggingface"),
        "XDG_CACHE_HOME": str(state / "cache"),
        "MLFLOW_TRACKING_URI": settings.resolved_tracking_uri,
        # Nothing is reported to anyone.
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",  # timm asks its hub where the client is installed; weights are fetched by ourselves
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime reports sessions to its maker, and keeps them in a cache
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # A busy machine takes longer than the 20 s that Prefect grants its own server.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # Errors are said in one line by the command, and kept whole in our log.
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # Job execution of MLflow's server has had holes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        # Two pools of threads on the same cores would fight.
        "OMP_NUM_THREADS": str(settings.cpu_threads),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    give_identity(settings)


def give_identity(settings: Settings) -> None:
    """Give name and home to a user who has neither, as in a container that runs under any number.

    Libraries ask for both when they are imported, and end where there is no answer.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"uid{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    try:
        home: Path | None = Path.home()
    except (KeyError, RuntimeError):
        home = None
    if home is None or not home.is_absolute() or not os.access(home, os.W_OK):
        os.environ["HOME"] = str(settings.state / "home")


def processor() -> str:
    """Return the processor's name as the system has it."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
