"""A run tells what it was made of and what came out."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from drillcore.settings import Settings
from drillcore.tracking import Run, find_run, start_run
from drillcore.tracking.connection import artifact_location, mlflow_client, shown_uri


def stored(settings: Settings, run: Run, path: str) -> bytes:
    return (settings.state / "artifacts" / "tiny" / run.id / "artifacts" / path).read_bytes()


def test_everything_is_kept(tracked: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = dataclasses.replace(tracked, dvc_remote="s3://key:secret@bucket/dvc")
    with start_run(settings, "tiny", name="first", tags={"git": "abc", "dirty": False}) as run:
        run.params({"head": {"name": "forest", "params": {"trees": 400}}, "seeds": {"train": 0}})
        run.params({"head": {"name": "forest"}})  # again, after a resume
        run.params({f"p{index}": index for index in range(250)})
        run.metrics({"accuracy": 0.5, "log_loss": math.nan, "per_class": {"ant": {}}, "ok": True}, prefix="test_")
        run.curves({"train_loss": [3.0, 2.0, 1.0]})
        run.picture("confusion.png", b"png")
        run.json("metrics/test.json", {"accuracy": 0.5})
        run.describe("accuracy 0.5", "tiny things " + "x" * 9000)
        (tmp_path / "data.dvc").write_text("outs:\n")
        run.file(tmp_path / "data.dvc", "data")
        run.dataset("plankton", "ab" * 32, tmp_path / "manifest.parquet", lineage="sample")
    with mlflow_client(settings) as client:
        told = client.get_run(run.id)
        assert [point.value for point in client.get_metric_history(run.id, "train_loss")] == [3.0, 2.0, 1.0]
        assert [point.step for point in client.get_metric_history(run.id, "train_loss")] == [1, 2, 3]
        about = client.get_experiment(run.experiment_id).tags["mlflow.note.content"]
    assert about.startswith("tiny things x")
    assert told.data.tags["mlflow.note.content"] == "accuracy 0.5"
    assert told.info.status == "FINISHED"
    assert told.info.run_name == "first"
    assert told.data.params["head.params.trees"] == "400"
    assert len(told.data.params) == 253
    assert told.data.metrics == {"test_accuracy": 0.5, "train_loss": 1.0}
    assert {
        "git": "abc",
        "dirty": "false",
        "lineage": "sample",
        "data_digest": "ab" * 32,
    }.items() <= told.data.tags.items()
    (data,) = told.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("plankton", "ab" * 18)
    assert {tag.key: tag.value for tag in data.tags}["data_digest"] == "ab" * 32
    assert stored(settings, run, "pictures/confusion.png") == b"png"
    assert stored(settings, run, "data/data.dvc") == b"outs:\n"
    assert "secret" not in json.dumps(json.loads(stored(settings, run, "settings.json")))
    output = capfd.readouterr()
    assert output.out + output.err == ""


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_says_so_and_is_resumed(tracked: Settings, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), start_run(tracked, "tiny", tags={"fingerprint": "f1"}) as run:
        raise error
    with mlflow_client(tracked) as client:
        assert client.get_run(run.id).info.status == status
    assert find_run(tracked, "tiny", {"fingerprint": "f1"}) == run.id
    assert find_run(tracked, "tiny", {"fingerprint": "f2"}) is None
    assert find_run(tracked, "other", {"fingerprint": "f1"}) is None
    run.params({"threads": 1, "seed": 0})
    with start_run(tracked, "tiny", resume=run.id) as again:
        assert again.id == run.id
        again.params({"threads": 2, "seed": 0, "remote": "s3://key:secret@bucket"})
    with mlflow_client(tracked) as client:
        told = client.get_run(run.id)
    assert told.info.status == "FINISHED"
    assert told.data.params == {"threads": "1", "seed": "0", "remote": "s3://key:***@bucket"}
    assert told.data.tags["resumed.threads"] == "2"
    assert "resumed.seed" not in told.data.tags


def test_resuming_what_mlflow_forgot_begins_anew(tracked: Settings) -> None:
    with start_run(tracked, "tiny", resume="0" * 32) as run:
        assert run.id != "0" * 32


def test_where_artifacts_go(settings: Settings) -> None:
    place = dataclasses.replace
    assert artifact_location(settings, "m") == (settings.state / "artifacts" / "m").as_uri()
    assert artifact_location(place(settings, artifact_root="s3://b/x/"), "m") == "s3://b/x/m"
    assert artifact_location(place(settings, tracking_uri="http://server:5000"), "m") is None


def test_passwords_are_not_shown() -> None:
    assert shown_uri("postgresql://me:secret@db/x") == "postgresql://me:***@db/x"
    assert shown_uri("sqlite:///a@b.db") == "sqlite:///a@b.db" or "secret" not in shown_uri("sqlite:///a@b.db")
    assert shown_uri("http://server:5000") == "http://server:5000"
