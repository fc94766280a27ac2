"""The public face: names, version, annotations, completion, and what is said of a package that is not there."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import drillcore
from drillcore.extras import MODULES, missing_extra

CHECKOUT = Path(__file__).resolve().parents[1]


def test_dir_shows_the_interface_and_nothing_else() -> None:
    names = [
        "Figures",
        "Images",
        "LoadedModel",
        "Segments",
        "TrainedModel",
        "__version__",
        "load_folder",
        "load_model",
        "score",
        "segments",
        "train",
    ]
    assert dir(drillcore) == sorted(drillcore.__all__) == names
    assert all(getattr(drillcore, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'annotate'"):
        _ = drillcore.annotate  # type: ignore[attr-defined]
    space: dict[str, object] = {}
    exec("from drillcore import *", space)  # noqa: S102
    assert set(names) <= set(space)


def test_the_version_is_one_and_semantic() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert drillcore.__version__ == project["version"] == importlib.metadata.version("drillcore")
    assert [part.isdigit() for part in drillcore.__version__.split(".")] == [True] * 3


def test_every_package_says_that_it_is_typed() -> None:
    for name in ("drillcore", "drillcore_pipelines", "drillcore_serving"):
        assert (CHECKOUT / "src" / name / "py.typed").is_file()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str, tmp_path: Path) -> None:
    env = {**os.environ, "_DRILLCORE_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-c", "from drillcore.cli import main; main()"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "_DRILLCORE_COMPLETE" in done.stdout
    for words, expected in (("drillcore ret", "retrain"), ("drillcore score --en", "--engine")):
        env |= {"_DRILLCORE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        if shell == "fish":
            env["COMP_CWORD"] = words.rpartition(" ")[2]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert expected in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named_with_its_extra() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(MODULES) <= set(extras)
    owners = importlib.metadata.packages_distributions()
    for extra, modules in MODULES.items():
        wanted = {item.split("[")[0].split(">")[0].lower() for item in extras[extra]}
        for module in modules:
            assert {name.lower().replace("_", "-") for name in owners[module]} & wanted or module in {
                "dvc_data",
                "dvc_objects",
                "starlette",
                "dask",
            }, module
    assert missing_extra(ModuleNotFoundError("x", name="torch.nn")) == (
        "this needs torch, which is not installed: pip install 'drillcore[train]'"
    )
    assert missing_extra(ModuleNotFoundError("x", name="mistyped")) is None
