"""The flows' own part: order, ticks that skip or find nothing, retries, caches that are not believed, artifacts.

The work itself is replaced where it is tested elsewhere.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image

from drillcore.cluster.address import Cluster
from drillcore.errors import DataError, InputError, IntegrityError, LeaseHeldError, StateError
from drillcore.retrain.records import Done
from drillcore.retrain.retraining import Summary
from drillcore.runtime.model.served import put_blob, write_pointer
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease

pytestmark = pytest.mark.usefixtures("prefect")

SUMMARY = {
    "model": "shells_Forest",
    "status": "promoted",
    "reason": "version 2 is the champion",
    "version": 2,
    "run_id": "abc",
    "model_sha256": "0" * 64,
    "data_digest": "1" * 64,
    "lineage": "sample",
    "figures": {"accuracy": 0.75, "per_class": {}},
    "verdict": {
        "passed": True,
        "rules": [{"name": "better", "passed": True, "text": "0.75 | beats 0.5"}],
        "champion": {"accuracy": 0.5},
    },
    "stages": [{"stage": "fit", "seconds": 1.0, "reused": False, "note": ""}],
}


@pytest.fixture
def here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Flows that run find this checkout."""
    for module in ("retrain", "ingest", "promote", "score"):
        monkeypatch.setattr(f"drillcore_pipelines.{module}.prepared", lambda: settings)
    return settings


@pytest.fixture
def artifacts() -> Callable[[], dict[str, Any]]:
    """Returns what Prefect's server holds, by key."""
    from prefect.client.orchestration import get_client

    def read() -> dict[str, Any]:
        with get_client(sync_client=True) as client:
            return {str(row.key): row for row in client.read_artifacts()}

    return read


class FakeRetrain:
    """Notes what is asked of it; `trouble` is what a stage raises, by its name, and how often."""

    def __init__(self, settings: Settings, folder: Path, trouble: dict[str, list[Exception]], unchanged: bool) -> None:
        self.settings, self.folder, self.trouble, self.unchanged = settings, folder, trouble, unchanged
        self.ran: list[str] = []
        self.held = False

    def peek(self) -> Summary | None:
        return replace(self.summary(), status="unchanged", reason="nothing new") if self.unchanged else None

    def __enter__(self) -> Self:
        self._lease = hold_lease(self.settings, "retrain:shells")
        self._lease.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._lease.__exit__(*details)

    def stages(self) -> list[Any]:
        from drillcore.retrain.retraining import STAGES

        return list(STAGES)

    def run(self, stage: Any) -> Done:
        self.ran.append(stage.name)
        if waiting := self.trouble.get(stage.name):
            raise waiting.pop()
        return Done(seconds=0.1, note="well")

    def summary(self) -> Summary:
        return Summary.from_dict({**SUMMARY, "folder": str(self.folder)})


MakeRetrain = Callable[..., FakeRetrain]


@pytest.fixture
def fake(here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRetrain:
    pictures = tmp_path / "run" / "pictures"
    pictures.mkdir(parents=True)
    Image.new("L", (4, 4)).save(pictures / "confusion.png")

    def make(*, unchanged: bool = False, **trouble: list[Exception]) -> FakeRetrain:
        work = FakeRetrain(here, tmp_path / "run", trouble, unchanged)
        monkeypatch.setattr("drillcore_pipelines.retrain.Retrain", lambda *_, **__: work)
        monkeypatch.setattr("drillcore_pipelines.running.RETRY_SECONDS", (0, 0, 0))
        return work

    return make


def test_a_retrain_is_told_of_its_workers(fake: MakeRetrain, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore_pipelines.retrain import retrain

    work, told = fake(), dict[str, Any]()
    monkeypatch.setattr("drillcore_pipelines.retrain.Retrain", lambda *_, **given: told.update(given) or work)
    retrain("shells")
    assert told["cluster"] is None
    files = {"tls_ca": "/ca.pem", "tls_cert": "/cert.pem", "tls_key": "/key.pem"}
    retrain("shells", engine="dask", scheduler="tls://a:1", **files)
    assert told["cluster"] == Cluster("tls://a:1", *map(Path, files.values()))
    with pytest.raises(InputError, match="are for --engine dask"):
        retrain("shells", scheduler="tls://a:1")


def test_a_retrain_runs_its_stages_and_shows_them(fake: MakeRetrain, artifacts: Callable[[], dict[str, Any]]) -> None:
    from drillcore_pipelines.retrain import retrain

    work = fake()
    state = retrain("shells", return_state=True)
    assert (state.name, state.message) == ("Promoted", "version 2 is the champion")
    assert state.is_completed()
    assert state.result()["version"] == 2
    assert work.ran[0] == "ingest"
    assert work.ran[-1] == "promote"
    made = artifacts()
    assert "better | yes | 0.75 \\| beats 0.5" in made["shells-forest-verdict"].data
    assert "http://127.0.0.1:5000/#/runs/abc" in made["shells-forest-verdict"].data
    assert '"champion": 0.5' in made["shells-forest-figures"].data
    assert made["shells-forest-confusion"].data.startswith("data:image/png;base64,")


def test_a_tick_with_nothing_new_runs_no_stage(fake: MakeRetrain) -> None:
    from drillcore_pipelines.retrain import retrain

    work = fake(unchanged=True)
    with hold_lease(work.settings, "retrain:shells"):  # not even the lease is asked for
        state = retrain("shells", return_state=True)
    assert (state.name, work.ran) == ("Unchanged", [])


def test_what_may_pass_is_tried_again_and_what_a_person_must_mend_is_not(
    fake: MakeRetrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drillcore_pipelines import retrain as module

    for name in ("ingest", "register"):
        monkeypatch.setattr(module.TASKS[name], "retry_delay_seconds", 0)
    work = fake(register=[OSError("the server is starting"), OSError("busy")])
    module.retrain("shells")
    assert work.ran.count("register") == 3
    work = fake(ingest=[DataError("the landing zone was emptied")])
    with pytest.raises(DataError, match="emptied"):
        module.retrain("shells")
    assert work.ran == ["ingest"]


def test_a_tick_skips_where_the_model_is_being_retrained(fake: MakeRetrain, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore_pipelines.retrain import retrain

    work = fake()
    with hold_lease(work.settings, "retrain:shells", holder="another machine"):
        with pytest.raises(LeaseHeldError, match="another machine"):  # a person waits: the command fails
            retrain("shells")
        monkeypatch.setattr(
            "drillcore_pipelines.running.runtime", SimpleNamespace(deployment=SimpleNamespace(id=uuid.uuid4()))
        )
        state = retrain("shells", return_state=True)
    assert state.is_completed()
    assert state.name == "Skipped"
    assert "another machine" in state.message
    assert state.result()["status"] == "skipped"
    assert work.ran == []


def test_one_run_per_gpu_where_a_server_counts(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client

    from drillcore_pipelines.running import gpu_slot

    @flow(name="gpu", persist_result=False)
    def held() -> int:
        with gpu_slot(here), get_client(sync_client=True) as client:
            return int(client.read_global_concurrency_limit_by_name(limit).active_slots)

    limit = f"gpu-{uuid.uuid4().hex}"
    monkeypatch.setattr("drillcore_pipelines.running.GPU", limit)
    monkeypatch.setattr("drillcore_pipelines.running.takes_gpu", lambda _: True)
    with pytest.raises(StateError, match="drillcore flows setup"):
        held()
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, 1)
        assert held() == 1
        monkeypatch.setattr("drillcore_pipelines.running.takes_gpu", lambda _: False)
        assert held() == 0


def test_a_cached_report_whose_pages_are_gone_is_made_again(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow

    from drillcore_pipelines.ingest import checked

    asked: list[str] = []
    docs = tmp_path / "index.html"

    def look(_settings: Settings, dataset: str) -> Any:
        asked.append(dataset)
        docs.write_text("")
        report = SimpleNamespace(results=[], failed=[], to_dict=lambda: {"docs": str(docs), "results": []})
        return SimpleNamespace(manifest=SimpleNamespace(digest=digest), report=report)

    monkeypatch.setattr("drillcore_pipelines.ingest.check_dataset", look)

    @flow(name="checked", persist_result=False)
    def run(wanted: str) -> dict[str, Any]:
        return checked(here, "shells", wanted)

    digest = uuid.uuid4().hex
    first = run(digest)
    assert run(digest) == first
    assert len(asked) == 1  # the second came from the cache
    docs.unlink()
    run(digest)
    assert len(asked) == 2
    assert docs.is_file()
    with pytest.raises(DataError, match="changed again"):
        run("another digest")


def test_scoring_what_waits(
    here: Settings, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch, artifacts: Callable[[], dict[str, Any]]
) -> None:
    from drillcore_pipelines.score import score

    pointer = write_pointer(here, "tiny", 3, put_blob(here, tiny_model_file))
    monkeypatch.setattr("drillcore.registry.fetch", lambda *_: pointer)
    assert score("tiny", return_state=True).name == "Unchanged"  # there is no inbox yet
    inbox = here.state / "inbox" / "tiny"
    inbox.mkdir(parents=True)
    assert "nothing waits" in score("tiny")["reason"]
    for number in range(3):
        Image.fromarray(np.full((8, 9, 3), number, np.uint8)).save(inbox / f"{number}.png")
    (inbox / "bad.png").write_bytes(b"no image")
    first = score("tiny")
    assert (first["status"], first["scored"], first["set_aside"]) == ("scored", 3, 1)
    assert "3 scored" in str(artifacts()["tiny-scored"].description)
    again = score("tiny")
    assert (again["status"], again["output"], again["batches"]) == ("unchanged", first["output"], [])
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(inbox / "new.png")
    (inbox / "half.png").write_bytes((inbox / "new.png").read_bytes()[:40])
    more = score("tiny")
    assert (more["status"], more["scored"], more["waiting"]) == ("scored", 1, 1)
    assert "1 not finished" in more["reason"]
    (here.served / "blobs" / f"{pointer.sha256}.onnx").write_bytes(b"")
    with pytest.raises(IntegrityError):
        score("tiny")


def test_a_promotion_asks_the_gate_once(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore_pipelines.promote import promote

    asked = []

    def judge(_settings: Settings, reference: str, *, why: str) -> dict[str, Any]:
        asked.append((reference, why))
        return {"promoted": False, "model": "tiny", "version": 2, "previous": 1, "reason": "refused: worse"}

    monkeypatch.setattr("drillcore_pipelines.promote.promote_reference", judge)
    monkeypatch.setattr("drillcore.registry.aliases", lambda *_: {"challenger": 2, "champion": 1})
    state = promote("tiny", return_state=True)
    assert (state.name, state.message, state.is_completed()) == ("Refused", "refused: worse", True)
    assert asked == [("tiny@challenger", "promote flow")]
    monkeypatch.setattr("drillcore.registry.aliases", lambda *_: {"challenger": 2, "champion": 2})
    assert promote("tiny")["status"] == "unchanged"
    assert len(asked) == 1


def test_what_a_server_needs_is_made_once() -> None:
    from prefect.client.orchestration import get_client

    from drillcore_pipelines.setup import set_up

    set_up(1, print)
    again = set_up(2, print)
    assert [line for line in again if "made" in line] == []
    with get_client(sync_client=True) as client:
        assert {pool.name for pool in client.read_work_pools()} >= {"cpu", "gpu"}
        assert client.read_global_concurrency_limit_by_name("gpu").limit == 2


def test_only_runs_whose_process_is_gone_from_this_machine_are_ended() -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from drillcore_pipelines.setup import end_dead_runs

    @flow(name="left", persist_result=False)
    def left() -> None: ...

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = f"gpu@{socket.gethostname()}:1"
    run_of = "PREFECT__FLOW_RUN_ID"  # Prefect starts a run's process with it
    alive: list[subprocess.Popen[bytes]] = []
    cases = {
        "gone": (here, str(gone.pid), "CRASHED"),
        "alive": (here, "", "RUNNING"),
        "another has its number": (here, str(os.getpid()), "CRASHED"),
        "elsewhere": ("gpu@another.example:1", str(gone.pid), "RUNNING"),
        "unknown": ("", str(gone.pid), "RUNNING"),
    }
    with get_client(sync_client=True) as client:
        runs = {}
        for name, (worker, pid, _) in cases.items():
            runs[name] = client.create_flow_run(left, name=name, state=Running()).id
            if not pid:
                env = {**os.environ, run_of: str(runs[name])}
                alive.append(subprocess.Popen([sys.executable, "-c", "input()"], env=env, stdin=subprocess.PIPE))
                pid = str(alive[-1].pid)
            client.update_flow_run(runs[name], infrastructure_pid=pid)
            client.update_flow_run_labels(runs[name], {"prefect.worker.name": worker} if worker else {})
        try:
            assert sorted(end_dead_runs(print)) == ["another has its number", "gone"]
        finally:
            for process in alive:
                process.communicate()
        found = {name: client.read_flow_run(run).state.type.value for name, run in runs.items()}
    assert found == {name: expected for name, (_, _, expected) in cases.items()}
