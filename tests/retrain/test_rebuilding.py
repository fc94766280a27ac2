"""A registered version made again: the same bytes, or the first stage and tensor that differ."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shells import RECIPE, write_shells
from signing_case import with_keys, write_keys

from drillcore import registry
from drillcore.datasets.landing import import_dataset
from drillcore.errors import RegistryError, SignatureError, UnknownNameError
from drillcore.files import read_object, write_json
from drillcore.registry.signing import sign_version
from drillcore.retrain.mlflow_log import MAKING
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import blob_path
from drillcore.runtime.model.signatures import TAG
from drillcore.settings import Settings
from drillcore.tracking import run_facts
from drillcore.tracking.connection import mlflow_client
from drillcore.upkeep.rebuilding import rebuild

Retrained = tuple[Settings, dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]


def artifact(settings: Settings, name: str) -> Path:
    """The file of a run's artifact."""
    [path] = settings.state.rglob(f"artifacts/**/{name}") if "/" in name else list(settings.state.rglob(name))
    return path


def test_the_same_bytes_and_a_lost_file_is_back(retrained: Retrained, tmp_path: Path) -> None:
    settings, summary = retrained
    pem, pub = write_keys(tmp_path)
    settings = with_keys(settings, sign=pem, trust=(pub,))
    sign_version(settings, "shells-forest")
    for path in settings.state.rglob("model.onnx"):
        path.unlink()
    blob_path(settings, summary["model_sha256"]).unlink()
    with pytest.raises(RegistryError, match="rebuild"):
        registry.fetch(settings, "shells-forest@1")
    told: list[str] = []
    found = rebuild(settings, "shells-forest", output=tmp_path / "again.onnx", tell=told.append)
    assert found.equal, found.differences
    assert [line.partition(":")[0] for line in told] == ["data", "backbone", "features", "fit", "export"]
    assert (tmp_path / "again.onnx").stat().st_size > 1000
    assert registry.fetch(settings, "shells-forest@1").sha256 == summary["model_sha256"]
    assert not list((settings.state / "rebuild").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_backbone_taken_over_is_made_from_the_data_of_then(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    import_dataset(settings, "shells", write_shells(tmp_path / "more", 2, first=100), layout="classes", append=True)
    with Retrain(settings, "shells-forest") as work:
        assert work.run_all().version == 2
    told: list[str] = []
    found = rebuild(settings, "shells-forest@2", tell=told.append)
    assert found.equal, found.differences
    assert told[0] == "version 1, whose backbone this one took over"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_differs_is_named(retrained: Retrained) -> None:
    settings, summary = retrained
    recipe = artifact(settings, "recipe.json")
    values = read_object(recipe)
    values["seeds"]["train"] += 1
    write_json(recipe, values)
    found = rebuild(settings, "shells-forest@1")
    assert not found.equal
    assert found.registered == summary["model_sha256"] != found.rebuilt
    assert found.differences[0].startswith("backbone: ")
    assert any(line.startswith("tensor ") and "numbers differ, by at most" in line for line in found.differences)
    assert any(line.startswith("metadata: seeds") for line in found.differences)


def test_what_cannot_be_rebuilt_says_why(retrained: Retrained) -> None:
    settings, _ = retrained
    with pytest.raises(UnknownNameError, match="version of shells-forest"):
        rebuild(settings, "shells-forest@7")
    making = artifact(settings, MAKING)
    values = read_object(making)
    write_json(making, values | {"machine": values["machine"] | {"drillcore": "0.0.1"}})
    with pytest.raises(RegistryError, match=r"made with drillcore 0\.0\.1"):
        rebuild(settings, "shells-forest@1")
    shutil.rmtree(settings.state / "rebuild")
    making.unlink()
    with pytest.raises(RegistryError, match="earlier release"):
        rebuild(settings, "shells-forest@1")


def test_what_no_trusted_key_has_signed_is_not_run(retrained: Retrained, tmp_path: Path) -> None:
    settings, summary = retrained
    pem, pub = write_keys(tmp_path)
    _, other = write_keys(tmp_path, "other")
    keyed = with_keys(settings, sign=pem, trust=(pub,))
    told: list[str] = []

    def refused(trusting: Settings, why: str) -> None:
        with pytest.raises(SignatureError, match=why):
            rebuild(trusting, "shells-forest@1", tell=told.append)
        assert told == []
        assert not list((settings.state / "rebuild").iterdir())

    refused(keyed, r"version 1 is refused: it is not signed")
    sign_version(keyed, "shells-forest@1")
    refused(with_keys(settings, trust=(other,)), "none of the trusted keys")
    recipe = artifact(settings, "recipe.json")
    values = read_object(recipe)
    write_json(recipe, values | {"seeds": values["seeds"] | {"train": 99}})
    refused(keyed, "its recipe changed after it was signed")
    write_json(recipe, values)
    text = registry.get_version(keyed, "shells-forest", 1).tags[TAG]
    blob_path(settings, summary["model_sha256"]).unlink()
    for path in settings.state.rglob("model.onnx"):
        path.unlink()
    with mlflow_client(keyed) as client:  # the file is lost, and who signed what is still known
        parts = json.loads(text)
        changed = parts | {"recipe.json": parts["recipe.json"].replace('"train":', '"train": ')}
        client.set_model_version_tag("shells-forest", "1", TAG, json.dumps(changed))
        refused(keyed, r"recipe\.json changed")
        client.set_model_version_tag("shells-forest", "1", TAG, text)
    row = registry.get_version(keyed, "shells-forest", 1)
    with pytest.raises(SignatureError, match="its signature is of the file"):
        registry.require_signed(keyed, dataclasses.replace(row, sha256="0" * 64), None)


def test_what_is_logged(retrained: Retrained) -> None:
    settings, summary = retrained
    making = read_object(artifact(settings, MAKING))
    assert making["threads"] == {"backbone": 1, "fit": None}
    assert making["results"]["export"] == summary["model_sha256"]
    assert {"torch", "numpy", "scikit-learn"} <= making["machine"]["packages"].keys()
    assert run_facts(settings, summary["run_id"]).status == "FINISHED"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a repository is needed")
def test_the_code_is_that_of_the_version(tmp_path: Path) -> None:
    """A project that holds the code: what was changed and committed since plays no part."""
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(root)], check=True)
    (root / "models" / "shells-forest.yaml").write_text(RECIPE)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "feat: a recipe"], check=True)
    source = write_shells(tmp_path / "source", 8)
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "DRILLCORE_ROOT": str(root), "DRILLCORE_THREADS": "1"}
    command = [sys.executable, "-m", "drillcore", "-q"]
    for arguments in (["data", "import", "--layout", "classes", "shells", str(source)], ["retrain", "shells-forest"]):
        subprocess.run([*command, *arguments], cwd=root, env=env, check=True)
    changed = root / "src" / "drillcore" / "heads" / "forest" / "__init__.py"
    changed.write_text(changed.read_text() + '\nraise RuntimeError("code of later")\n')
    subprocess.run([*git, "commit", "-qam", "feat: later"], check=True)
    later = {**env, "PYTHONPATH": str(ROOT / "src")}  # the code of now that works
    done = subprocess.run(
        [*command, "rebuild", "shells-forest@1", "--json"],
        cwd=root,
        env=later,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["equal"]
