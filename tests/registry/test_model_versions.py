"""A file becomes one version, byte for byte, however often it is asked for."""

from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType

import pytest

from drillcore import registry
from drillcore.digests import sha256_file
from drillcore.errors import InputError, IntegrityError, RegistryError, UnknownNameError
from drillcore.registry import model_versions
from drillcore.settings import Settings
from drillcore.tracking import start_run
from drillcore.tracking.connection import mlflow_client


def test_registering_is_idempotent_and_keeps_every_tag(tracked: Settings, tiny_model_file: Path) -> None:
    sha256 = sha256_file(tiny_model_file)
    arguments = {"name": "tiny", "sha256": sha256, "metadata": {"lineage": "sample"}, "tags": {"data_dvc": "outs:\n"}}
    with start_run(tracked, "tiny") as run:
        first = registry.register(tracked, tiny_model_file, run_id=run.id, **arguments)
        assert registry.register(tracked, tiny_model_file, run_id=run.id, **arguments) == first == 1
        with mlflow_client(tracked) as client:
            assert client.get_run(run.id).info.status == "RUNNING"  # goes on after registering
    with start_run(tracked, "tiny") as another:
        words = {"description": "figures", "model_description": "What it is for"}
        assert registry.register(tracked, tiny_model_file, run_id=another.id, **arguments, **words) == 2
    with mlflow_client(tracked) as client:
        assert client.get_model_version("tiny", "2").description == "figures"
        assert client.get_registered_model("tiny").description == "What it is for"
    newest, oldest = registry.versions(tracked, "tiny")
    assert (newest.version, oldest.version) == (2, 1)
    assert (oldest.sha256, oldest.run_id, oldest.lineage) == (sha256, run.id, "sample")
    assert oldest.tags["data_dvc"] == "outs:\n"
    assert registry.model_names(tracked) == ["tiny"]


def test_killed_after_logging_the_model_is_taken_up(
    tracked: Settings, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = sha256_file(tiny_model_file)
    arguments = {"name": "tiny", "sha256": sha256, "metadata": {}}
    with start_run(tracked, "tiny") as run:
        monkeypatch.setattr(model_versions, "_make_registered_model", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            registry.register(tracked, tiny_model_file, run_id=run.id, **arguments)
        with mlflow_client(tracked) as client:
            assert len(client.search_logged_models([run.experiment_id])) == 1
        monkeypatch.undo()
        assert registry.register(tracked, tiny_model_file, run_id=run.id, **arguments) == 1
        with mlflow_client(tracked) as client:
            assert len(client.search_logged_models([run.experiment_id])) == 1  # not logged again


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_file_than_promised_is_refused(tracked: Settings, tiny_model_file: Path) -> None:
    with start_run(tracked, "tiny") as run, pytest.raises(IntegrityError, match="export it again"):
        registry.register(tracked, tiny_model_file, name="tiny", run_id=run.id, sha256="0" * 64, metadata={})
    assert registry.versions(tracked, "tiny") == []


def test_bytes_that_mlflow_would_change_are_refused(tracked: Settings, tiny_model_file: Path) -> None:
    # The same message written with one field twice: valid, but no writer would write it again so.
    tiny_model_file.write_bytes(tiny_model_file.read_bytes() + b"\x08\x0a")  # ir_version: 10
    sha256 = sha256_file(tiny_model_file)
    with start_run(tracked, "tiny") as run, pytest.raises(IntegrityError, match="nothing is registered"):
        registry.register(tracked, tiny_model_file, name="tiny", run_id=run.id, sha256=sha256, metadata={})
    assert registry.versions(tracked, "tiny") == []


def test_what_mlflow_makes_of_a_version_takes_images(
    tracked: Settings, tiny_models: ModuleType, tiny_model_file: Path, tmp_path: Path
) -> None:
    import mlflow
    import numpy as np
    import onnx
    import pandas as pd
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server
    from PIL import Image

    with start_run(tracked, "tiny") as run:
        sha256 = sha256_file(tiny_model_file)
        registry.register(tracked, tiny_model_file, name="tiny", run_id=run.id, sha256=sha256, metadata={})
    registry.promote(tracked, "tiny", 1)
    with mlflow_client(tracked):
        model = mlflow.pyfunc.load_model("models:/tiny@champion")
        assert isinstance(mlflow.onnx.load_model("models:/tiny@champion"), onnx.ModelProto)
    image = np.full((5, 7), 200, np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    path, data = str(tmp_path / "image.png"), (tmp_path / "image.png").read_bytes()
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    expected = tiny_models.expected_probabilities(image[:, :, None])
    for given in (
        path,
        data,
        image,
        [data],
        [path, data],
        np.stack([image[:, :, None]] * 2),
        {"images": [image]},
        [url],
    ):
        found = model.predict(given)
        for row in found.to_dict("records"):
            assert row["label"] == tiny_models.CLASSES[int(np.argmax(expected))]
            known = [row["probabilities"][name] for name in tiny_models.CLASSES]
            assert known == pytest.approx(expected.tolist(), abs=1e-5)
    assert len(model.predict(pd.DataFrame({"path": [path, path], "species": ["a", "b"]}))) == 2
    assert len(model.predict(pd.DataFrame({"image": [data]}))) == 1
    with pytest.raises(InputError, match="a table with the columns a, b came; a path, the bytes of a file"):
        model.predict(pd.DataFrame({"a": [1], "b": [2]}))
    server = TestClient(scoring_server.init(model))  # what `mlflow models serve` runs
    for body in ({"inputs": [url]}, {"dataframe_split": {"columns": ["image"], "data": [[url]]}}):
        answer = server.post("/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["label"] == tiny_models.CLASSES[int(np.argmax(expected))]
    pinned = Path(mlflow.pyfunc.get_model_dependencies("models:/tiny/1", format="pip")).read_text().splitlines()
    assert {"onnxruntime", "onnx", "numpy", "pillow"} <= {line.partition("==")[0] for line in pinned}
    assert all("==" in line for line in pinned)


def test_unknown_names_list_the_known(tracked: Settings, tiny_model_file: Path) -> None:
    with start_run(tracked, "tiny") as run:
        sha256 = sha256_file(tiny_model_file)
        registry.register(tracked, tiny_model_file, name="tiny", run_id=run.id, sha256=sha256, metadata={})
    with pytest.raises(UnknownNameError, match="known: tiny"):
        registry.get_version(tracked, "tinny", 1)
    with pytest.raises(UnknownNameError, match="known: 1"):
        registry.get_version(tracked, "tiny", 7)
    with pytest.raises(UnknownNameError):
        registry.versions(tracked, "x' or name = 'tiny")


def test_a_damaged_mlflow_database_is_one_line(tracked: Settings) -> None:
    (tracked.state / "mlflow.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(RegistryError) as caught:
        registry.versions(tracked, "tiny")
    assert "\n" not in str(caught.value)
