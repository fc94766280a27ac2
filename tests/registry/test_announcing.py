"""Webhooks: told once, signed, tried again, and never in the way of a promotion."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from listening import Listener, listener

from drillcore import registry
from drillcore.digests import sha256_file
from drillcore.errors import InputError
from drillcore.registry.announcing import announce, signature
from drillcore.settings import Settings
from drillcore.state import open_state
from drillcore.state.deliveries import GIVEN_UP, undelivered
from drillcore.state.migrations import delivery, notice
from drillcore.tracking import start_run
from drillcore.upkeep.doctor import examine

__all__ = ["listener"]

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()


@pytest.fixture
def told(tracked: Settings, tiny_models: ModuleType, tmp_path: Path, listener: Listener) -> Settings:
    """Three versions of a model, and an address that is to be told."""
    with start_run(tracked, "tiny") as run:
        for bias in (1, 2, 3):
            file = tiny_models.write_tiny_model(tmp_path / f"{bias}.onnx", bias=bias)
            registry.register(tracked, file, name="tiny", run_id=run.id, sha256=sha256_file(file), metadata={})
    return dataclasses.replace(tracked, webhook_urls=listener.url, webhook_secret=SECRET)


def make_due(settings: Settings) -> None:
    with open_state(settings).write() as connection:
        for table in (delivery, notice):
            connection.execute(sa.update(table).values(due=0.0))


def test_promotion_and_rollback_are_told_and_signed(told: Settings, listener: Listener) -> None:
    registry.promote(told, "tiny", 1, why="first")
    registry.set_alias(told, "tiny", "challenger", 2)
    registry.promote(told, "tiny", 2)
    registry.promote(told, "tiny", 2)  # nothing moves
    registry.rollback(told, "tiny")
    bodies = [json.loads(body) for _, body in listener.heard]
    assert [(body["type"], body["data"]["version"], body["data"]["previous"]) for body in bodies] == [
        ("model.promoted", 1, None),
        ("model.promoted", 2, 1),
        ("model.rolled_back", 1, 2),
    ]
    assert bodies[0]["data"]["why"] == "first"
    headers, body = listener.heard[0]
    assert len({heard["webhook-id"] for heard, _ in listener.heard}) == 3
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(b"a secret of some length", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert undelivered(open_state(told)) == []
    # The example of the specification's libraries.
    name, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    found = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", name, 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_fails_is_seen_tried_again_and_not_in_the_way(told: Settings, listener: Listener, status: int) -> None:
    listener.status = status
    assert registry.promote(told, "tiny", 1).version == 1
    [one] = undelivered(open_state(told))
    assert (one.tries, one.error) == (1, f"HTTP status {status}")
    assert len(listener.heard) == 1  # a redirect is not followed
    assert announce(told) is None  # not due yet
    said = [finding.text for finding in examine(told) if "is not told" in finding.text]
    assert len(said) == 1
    assert "tiny version 1" in said[0]
    assert "a-token" not in said[0]
    listener.status = 200
    make_due(told)
    assert announce(told) is None
    assert undelivered(open_state(told)) == []
    first, second = (headers["webhook-id"] for headers, _ in listener.heard)
    assert first == second


def test_an_address_that_is_gone_is_given_up_after_some_tries(told: Settings, listener: Listener) -> None:
    listener.server.shutdown()
    listener.server.server_close()
    registry.promote(told, "tiny", 1)
    for _ in range(10):
        make_due(told)
        announce(told)
    [one] = undelivered(open_state(told))
    assert (one.status, one.tries) == (GIVEN_UP, 8)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1/", "http://häfen.example/"], ids=ascii)
def test_an_address_that_cannot_be_told_keeps_no_other_waiting(told: Settings, listener: Listener, url: str) -> None:
    both = dataclasses.replace(told, webhook_urls=f"{url} {listener.url}")
    assert [registry.promote(both, "tiny", number).version for number in (1, 2)] == [1, 2]
    assert [json.loads(body)["data"]["version"] for _, body in listener.heard] == [1, 2]
    assert {one.url for one in undelivered(open_state(both))} == {url}


def test_a_secret_that_is_none_stops_no_promotion(told: Settings, listener: Listener) -> None:
    odd = dataclasses.replace(told, webhook_secret="whsec_abc")  # noqa: S106 - a test's
    assert registry.promote(odd, "tiny", 1).version == 1
    assert listener.heard == []  # unsigned it is not sent
    assert len(undelivered(open_state(odd))) == 1


def test_what_is_no_move_is_told_likewise(told: Settings, listener: Listener) -> None:
    registry.tell(dataclasses.replace(told, webhook_urls=""), "run.failed", {})  # nobody is to be told
    listener.status = 503
    registry.tell(told, "run.failed", {"run": "nightly"})
    registry.promote(told, "tiny", 1)
    kinds = [one.what.partition(" of ")[0] for one in undelivered(open_state(told))]
    assert kinds == ["tiny version 1 (promote)", "run.failed"]
    assert [f.text for f in examine(told) if "is not told of run.failed" in f.text]
    listener.status = 200
    make_due(told)
    assert announce(told) is None
    assert undelivered(open_state(told)) == []
    heard = [json.loads(body) for _, body in listener.heard]
    assert [body["type"] for body in heard] == ["run.failed", "model.promoted", "model.promoted", "run.failed"]
    assert heard[0] == heard[3]
    assert heard[0]["data"] == {"run": "nightly"}
    first, last = listener.heard[0][0], listener.heard[3][0]
    assert first["webhook-id"] == last["webhook-id"]
    assert last["webhook-signature"] == signature(
        SECRET, last["webhook-id"], int(last["webhook-timestamp"]), listener.heard[3][1]
    )


def test_what_is_secret_is_logged_nowhere(told: Settings) -> None:
    assert "webhook_secret" not in told.as_dict()
    assert "a-token" not in str(told.as_dict()) + repr(told)
    with pytest.raises(InputError, match="ftp://x"):
        Settings.load(told.root, env={"DRILLCORE_WEBHOOK_URLS": "ftp://x"})
    for name, value in (("URLS", "http://[::1/"), ("URLS", "http://häfen.example/"), ("SECRET", "whsec_abc")):
        with pytest.raises(InputError, match=f"WEBHOOK_{name}"):
            Settings.load(told.root, env={f"DRILLCORE_WEBHOOK_{name}": value})
