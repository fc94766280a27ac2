"""Importing does nothing: no folder, logger, environment variable or tracking server; the command starts light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("drillcore", "drillcore_pipelines", "drillcore_serving")
HEAVY = (
    "torch",
    "pandas",
    "mlflow",
    "prefect",
    "dvc",
    "great_expectations",
    "onnxruntime",
    "sklearn",
    "numba",
    "matplotlib",
)

# Prefect puts a handler of its own on the root logger when a flow is defined. This is what scikit-learn sets
# in the environment when it is imported, for the threads of its compiled parts, and OpenCV for its libraries.
THEIRS = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "LD_LIBRARY_PATH"}

_LOOK = """
import importlib, json, logging, os, sys

modules = json.loads(sys.argv[1])
before = dict(os.environ)
for name in modules:
    importlib.import_module(name)
loggers = {
    name: [len(logger.handlers), logger.level, logger.propagate]
    for name, logger in logging.root.manager.loggerDict.items()
    if isinstance(logger, logging.Logger) and (logger.handlers or logger.level or not logger.propagate)
}
after = dict(os.environ)
changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
tracking = "mlflow" in sys.modules and sys.modules["mlflow"].is_tracking_uri_set()
print(json.dumps({
    "changed": changed,
    "handlers": [type(handler).__module__ for handler in logging.root.handlers],
    "loggers": loggers,
    "tracking": tracking,
    "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


def all_modules() -> list[str]:
    """Return the names of all modules; none is imported here."""
    names = []
    folder = CHECKOUT / "src"
    for package in PACKAGES:
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            names.append(".".join(parts).removesuffix(".__init__"))
    return [name for name in names if not name.endswith("__main__")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    return tmp_path


def run(place: Path, code: str, *arguments: str) -> str:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("DRILLCORE_", "PREFECT_", "MLFLOW_"))
    }
    home = str(place / "home")
    env |= {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "XDG_CONFIG_HOME": f"{home}/config", "TMPDIR": home}
    # Prefect makes its home when a flow is defined, Matplotlib lists the fonts there are when it is imported; the
    # command, and a worker's settings, say where that is.
    env |= {"PREFECT_HOME": str(place / "prefect"), "MPLCONFIGDIR": str(place / "matplotlib")}
    # Byte code goes where the modules are: no business of this test.
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=place / "here",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(place: Path, modules: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(place, _LOOK, json.dumps(modules)).splitlines()[-1])
    return found


def test_modules_are_found() -> None:
    names = all_modules()
    for expected in (
        "drillcore.cli.root",
        "drillcore.api.trained_model",
        "drillcore_pipelines.retrain",
        "drillcore_serving.batch.score_batch",
    ):
        assert expected in names


def test_importing_every_module_does_nothing(place: Path) -> None:
    ours = look(place, all_modules())
    made = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*"))}
    own = {name: path for name, path in made.items() if name.partition("/")[0] not in ("prefect", "matplotlib")}
    files = [name for name, path in own.items() if path.is_file()]
    folders = [name for name, path in own.items() if path.is_dir()]
    assert not ours["tracking"]
    assert set(ours["changed"]) <= THEIRS
    assert [name for name in ours["handlers"] if not name.startswith("prefect.")] == []
    assert [name for name in ours["loggers"] if name.partition(".")[0] in PACKAGES] == []
    assert (files, folders) == ([], ["here", "home"])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such-command"]])
def test_the_command_starts_light(place: Path, arguments: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from drillcore.cli import main\n"
        f"sys.argv = ['drillcore', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print()\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    loaded = json.loads(run(place, code).splitlines()[-1])
    assert "drillcore" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_importing_the_package_imports_no_interface(place: Path) -> None:
    code = "import sys, drillcore\nprint('drillcore.api' in sys.modules, 'numpy' in sys.modules)\n"
    assert run(place, f"{code}print('train' in dir(drillcore))").split() == ["False", "False", "True"]


def test_the_interface_needs_no_flow_and_no_tracking(place: Path) -> None:
    code = "import json, sys, drillcore\ndrillcore.train, drillcore.score, drillcore.load_folder\n"
    loaded = json.loads(run(place, f"{code}print(json.dumps(sorted(sys.modules)))"))
    assert [name for name in ("prefect", "mlflow", "dvc", "torch", "great_expectations") if name in loaded] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    import drillcore

    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = drillcore.trian  # type: ignore[attr-defined]
