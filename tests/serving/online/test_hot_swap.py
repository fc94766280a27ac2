"""A new version takes over while requests go on; a bad one does not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from online_case import Running, png, serve_tiny, until

from drillcore.files import write_json, write_text
from drillcore.runtime.model.served import blob_path, pointer_path, write_pointer
from drillcore.settings import Settings

Start = Callable[..., Running]
# On a black image the tiny model's first logit is its bias, the third -1: each version has an answer of its own.
LABELS = {1: "bright", 2: "middle"}


def two_versions(settings: Settings) -> dict[int, str]:
    """Bring both versions; return their digests. The pointer is at the first."""
    digests = {2: serve_tiny(settings, 2, bias=-10.0).sha256, 1: serve_tiny(settings, 1).sha256}
    assert digests[1] != digests[2]
    return digests


def version_of(server: Running) -> int:
    version: int = server.predict(png()).json()["version"]
    return version


def swap(settings: Settings, server: Running, digests: dict[int, str], moves: int, clients: int) -> list[Any]:
    """Move the pointer to and fro under load; return (status, version, digest, label) of every answer."""
    found: list[Any] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not ended.is_set():
                answer = client.post("/predict/tiny", content=png(), headers={"content-type": "image/png"})
                said = answer.json()
                found.append(
                    (answer.status_code, said.get("version"), said.get("model_sha256"), said.get("label"), answer)
                )

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    shelf = server.server.service.shelf
    for move in range(moves):
        version = 1 + (move + 1) % 2
        write_pointer(settings, "tiny", version, digests[version])
        until(lambda wanted=version: shelf.get("tiny").version == wanted)  # type: ignore[misc]
        if move % 10 == 0:
            seen = len(found)
            until(lambda count=seen: len(found) > count)  # type: ignore[misc]
    ended.set()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(
    ("moves", "clients"), [(60, 3), pytest.param(1000, 8, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_no_request_fails_and_each_answer_is_of_one_version(
    settings: Settings, start: Start, moves: int, clients: int
) -> None:
    digests = two_versions(settings)
    server = start(poll_seconds=0.01)
    found = swap(settings, server, digests, moves, clients)
    assert {status for status, *_ in found} == {200}
    assert {version for _, version, *_ in found} == {1, 2}
    for _, version, sha256, label, answer in found:
        assert (sha256, label) == (digests[version], LABELS[version])
        assert answer.headers["x-model-version"] == str(version)
    text = server.client.get("/metrics").text
    assert f'drillcore_swaps_total{{model="tiny",result="swapped"}} {float(moves)}' in text
    # Versions that were replaced are closed: their threads are gone.
    until(lambda: sum(thread.name.startswith("infer") for thread in threading.enumerate()) <= 2)


def test_a_request_in_flight_keeps_its_version(settings: Settings, start: Start) -> None:
    digests = two_versions(settings)
    server = start(poll_seconds=0.01)
    shelf = server.server.service.shelf
    old = shelf.get("tiny")

    def body() -> Any:
        yield png()[:20]
        write_pointer(settings, "tiny", 2, digests[2])
        until(lambda: shelf.get("tiny").version == 2)
        yield png()[20:]

    answer = server.client.post("/predict/tiny", content=body(), headers={"content-type": "image/png"}).json()
    assert (answer["version"], answer["label"]) == (1, "bright")
    assert version_of(server) == 2
    until(lambda: old._batcher._task.done())


def damaged_blob(settings: Settings, digest: str) -> None:
    blob_path(settings, digest).write_bytes(b"not what was registered")
    write_json(pointer_path(settings, "tiny"), {"version": 2, "sha256": digest})


def no_blob(settings: Settings, digest: str) -> None:
    blob_path(settings, digest).unlink()
    write_json(pointer_path(settings, "tiny"), {"version": 2, "sha256": digest})


def damaged_pointer(settings: Settings, digest: str) -> None:
    write_text(pointer_path(settings, "tiny"), "{")


@pytest.mark.parametrize("harm", [damaged_blob, damaged_pointer, no_blob])
def test_a_version_that_cannot_be_opened_leaves_the_old_one(
    settings: Settings, start: Start, harm: Callable[[Settings, str], None]
) -> None:
    digests = two_versions(settings)
    server = start(poll_seconds=0.01)
    harm(settings, digests[2])
    shelf = server.server.service.shelf
    until(lambda: bool(shelf.get("tiny").problem))
    assert version_of(server) == 1
    problem = server.client.get("/v2/models/tiny").json()["parameters"]["problem"]
    assert "refused" in problem
    assert str(settings.root) not in problem
    assert server.client.get("/api/models").json()["models"][0]["problem"] == problem
    assert 'result="refused"} 1.0' in server.client.get("/metrics").text
    # Put right, it answers.
    digest = serve_tiny(settings, 2, bias=-10.0).sha256
    assert digest == digests[2]
    until(lambda: version_of(server) == 2)
    assert shelf.get("tiny").problem == ""


def test_a_model_that_answers_otherwise_than_it_promises_is_refused(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(poll_seconds=0.01)
    serve_tiny(settings, 2, classes=["bright", "dark", "middle", "never"])
    until(lambda: bool(server.server.service.shelf.get("tiny").problem))
    assert version_of(server) == 1


def test_versions_and_aliases_are_served_under_their_names(settings: Settings, start: Start) -> None:
    digests = two_versions(settings)
    write_pointer(settings, "tiny", 2, digests[2], "challenger")
    server = start("tiny", "tiny@challenger")
    assert server.predict(png()).json()["label"] == "bright"
    assert server.predict(png(), "tiny@challenger").json()["label"] == "middle"
    assert [model["name"] for model in server.client.get("/api/models").json()["models"]] == ["tiny", "tiny@challenger"]
