"""What Prefect's programs are started with, and servers that are open to others."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from drillcore.errors import DeviceError, InputError
from drillcore.remote import is_loopback
from drillcore.settings import Settings
from drillcore_pipelines.hosting import (
    POOLS,
    prefect_environment,
    refuse_open_server,
    run_together,
    warning_of,
)

CHECKOUT = Path(__file__).resolve().parents[2]


def test_everything_prefect_keeps_is_in_the_state_folder(settings: Settings) -> None:
    env = prefect_environment(settings, {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PATH": "/bin"})
    assert env["PREFECT_HOME"] == str(settings.state / "prefect")
    assert env["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith(str(settings.state))
    assert env["PREFECT_LOGGING_LEVEL"] == "INFO"
    assert env["PATH"] == "/bin"


def test_what_the_user_has_set_stays(settings: Settings, tmp_path: Path) -> None:
    own = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": "http://10.0.0.1/api", "PREFECT_LOGGING_LEVEL": "DEBUG"}
    env = prefect_environment(settings, own)
    assert {name: env[name] for name in own} == own
    assert env["PREFECT_SERVER_UI_STATIC_DIRECTORY"] == str(tmp_path / "ui")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""])  # noqa: S104
def test_reachable_by_others(host: str) -> None:
    assert not is_loopback(host)


def test_a_server_beyond_loopback_needs_a_password() -> None:
    refuse_open_server("127.0.0.1", {})
    refuse_open_server("0.0.0.0", {"PREFECT_SERVER_API_AUTH_STRING": "user:secret"})  # noqa: S104
    with pytest.raises(InputError, match="PREFECT_SERVER_API_AUTH_STRING"):
        refuse_open_server("0.0.0.0", {"PREFECT_SERVER_API_AUTH_STRING": ""})  # noqa: S104


def test_a_server_elsewhere_without_a_password_is_said_loudly() -> None:
    assert warning_of({}) == ""
    assert warning_of({"PREFECT_API_URL": "http://localhost:4200/api"}) == ""
    assert "without a password" in warning_of({"PREFECT_API_URL": "https://prefect.example.org/api"})
    secret = {"PREFECT_API_AUTH_STRING": "user:secret"}
    assert "unencrypted" in warning_of({"PREFECT_API_URL": "http://10.0.0.1:4200/api"} | secret)
    assert warning_of({"PREFECT_API_URL": "https://prefect.example.org/api"} | secret) == ""


def test_where_one_program_ends_the_others_end_too(tmp_path: Path) -> None:
    sleeper, failing = (
        [sys.executable, "-c", "import time; time.sleep(60)"],
        [sys.executable, "-c", "raise SystemExit(3)"],
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        began = time.monotonic()
        assert run_together([sleeper, failing], os.environ, tmp_path) == 3
        assert time.monotonic() - began < 30
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_all(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from drillcore_pipelines.hosting import run_together;"
        "one = [sys.executable, '-c', 'import os, time; os.write(1, bytes([55, 10])); time.sleep(60)'];"
        "sys.exit(run_together([one, one], os.environ, Path('.')))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE)
    timer = threading.Timer(60, process.kill)
    timer.start()
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"7\n"] * 2
    process.terminate()
    assert process.wait(60) == 0
    assert process.stdout.read() == b""  # closed by all that had it: none is left
    process.stdout.close()
    timer.cancel()


def test_one_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """As a worker does whose server is gone."""
    deaf = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(7, flush=True);"
        " time.sleep(99)';"
        "subprocess.Popen([sys.executable, '-c', child]); time.sleep(99)"
    )
    program = (
        "import os, sys; from pathlib import Path; from drillcore_pipelines import hosting;"
        "hosting._GRACE_SECONDS = 0.5;"
        f"sys.exit(hosting.run_together([[sys.executable, '-c', {deaf!r}]], os.environ, Path('.')))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"7\n"
        process.terminate()
        assert process.stdout.read() == b""  # nobody has it any more
        assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_tethered_program_ends_with_the_process_that_started_it(tmp_path: Path, number: int) -> None:
    (tmp_path / "serving_for_ever.py").write_text("import time; print(7, flush=True); time.sleep(600)")
    program = (
        "import subprocess, time; from drillcore_pipelines.tethered import tethered;"
        "subprocess.Popen(tethered('serving_for_ever'), start_new_session=True); time.sleep(600)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"7\n"
        process.send_signal(number)
        assert process.stdout.read() == b""  # closed by the one that was left, too


def test_terminals_do_not_share_a_database(tmp_path: Path) -> None:
    from drillcore_pipelines.terminal import _free_database

    first, lock = _free_database(tmp_path)
    second, other = _free_database(tmp_path)
    assert (first.name, second.name) == ("terminal-1.db", "terminal-2.db")
    os.close(lock)
    again, lock = _free_database(tmp_path)
    assert again == first
    os.close(lock)
    os.close(other)


def test_the_command_refuses_an_open_server_in_one_line(settings: Settings) -> None:
    command = [sys.executable, "-m", "drillcore", "flows", "server", "--host", "0.0.0.0"]  # noqa: S104
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env["DRILLCORE_ROOT"] = str(settings.root)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("drillcore: a Prefect server on 0.0.0.0 without a password")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("device", "there", "taken"), [("auto", 2, True), ("auto", 0, False), ("cpu", 2, False)])
def test_the_device_is_what_is_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, device: str, there: int, taken: bool
) -> None:
    from drillcore_pipelines.running import takes_gpu

    monkeypatch.setattr("drillcore_pipelines.running.cuda_devices", lambda: there)
    assert takes_gpu(dataclasses.replace(settings, device=device)) is taken


def test_cuda_where_there_is_none_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore_pipelines.running import takes_gpu

    monkeypatch.setattr("drillcore_pipelines.running.cuda_devices", lambda: 0)
    with pytest.raises(DeviceError, match="no CUDA device"):
        takes_gpu(dataclasses.replace(settings, device="cuda"))


def test_the_deployments_name_flows_and_pools_that_there_are() -> None:
    from prefect.flows import load_flow_from_entrypoint

    wanted = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
    flows = {"ingest", "retrain", "promote", "score", "drift", "label_next"}
    assert {one["entrypoint"].rpartition(".")[2] for one in wanted} == flows
    for one in wanted:
        flow = load_flow_from_entrypoint(one["entrypoint"])
        flow.validate_parameters(one["parameters"])
        assert one["work_pool"]["name"] in POOLS
        assert "triggers" in one or one["schedules"][0]["active"]
        assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert flow.persist_result
        assert flow.result_serializer == "json"


def test_no_task_of_a_flow_can_keep_a_pickle() -> None:
    from drillcore_pipelines import drift, ingest, label_next, promote, retrain, score

    tasks = [*retrain.TASKS.values(), ingest.bring, ingest.check, promote.judge_and_move]
    tasks += [score.fetch, score.score_images, score.verify, drift.compare, label_next.choose_images]
    for task in tasks:
        assert not task.persist_result or task.result_serializer == "json"
        assert task.timeout_seconds


def test_a_run_that_has_ended_is_not_silent_whatever_its_end_is_called(prefect: None) -> None:
    from prefect.automations import Automation
    from prefect.server.events.schemas.automations import EventTrigger

    from drillcore_pipelines import setup

    setup.set_up(1, print)
    rule = Automation.read(name=setup._SILENT_RUNS)
    rule.trigger.expect = {"prefect.flow-run.Completed"}  # as an earlier version made it
    rule.update()
    setup.set_up(1, print)
    trigger = EventTrigger.model_validate(Automation.read(name=setup._SILENT_RUNS).trigger.model_dump())
    for name in ("heartbeat", "Completed", "Failed", "Crashed", "Refused", "Unchanged", "Scored"):
        assert trigger.expects(f"prefect.flow-run.{name}")
    assert not trigger.expects("prefect.task-run.Completed")
