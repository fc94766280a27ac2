"""Rows of a list that cannot be read are set aside, whatever is wrong; only a store that is out ends a run."""

from __future__ import annotations

import errno
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scoring_case import serve_tiny, write_images

import drillcore_serving.batch.inputs.url_staging
from drillcore.errors import DrillcoreError
from drillcore.remote import RemotePath, host_of, place
from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings
from drillcore_serving.batch.inputs.store_errors import reason_of
from drillcore_serving.batch.score_batch import score


class Store(http.server.BaseHTTPRequestHandler):
    """Answers /<status>/..., /ok.png with an image, /moved.png with the way to it."""

    image = b""

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        status = int(name) if name.isdigit() else 200
        if name == "moved.png":
            status = 302
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/ok.png")
        body = self.image if status == 200 else b"no"
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    (path,) = write_images(tmp_path / "stored", 1)
    Store.image = path.read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def aside(output: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(output / "set_aside.parquet").to_pylist()
    return {row["path"]: (row["reason"], row["detail"]) for row in rows}


def test_each_is_set_aside_and_the_others_are_scored(
    settings: Settings, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drillcore_serving.batch.inputs.url_staging, "_PAUSE", 0.001)
    write_images(tmp_path / "in", 2)
    rows = {
        f"in/{'0' * 300}.png": "missing",
        f"{'d/' * 3000}x.png": "missing",
        "in/nul\0.png": "missing",
        "in": "unreadable",
        "in/00000.png/x.png": "missing",
        "/dev/zero": "unreadable",
        f"{store}/404/x.png": "missing",
        f"{store}/410/x.png": "missing",
        f"{store}/400/x.png": "unreadable",
        f"{store}/401/x.png": "unreadable",
        f"{store}/403/x.png": "unreadable",
        f"{store}/451/x.png": "unreadable",
        "http:///x.png": "unreadable",
        "http://[::bad/x.png": "unreadable",
        "http://127.0.0.1:99999/x.png": "unreadable",
        "s3://Bad_Bucket!/x.png": "unreadable",
        "nosuch://x/y.png": "unreadable",
        "zip://x.png::file:///tmp/y.zip": "unreadable",
        f"file://{tmp_path}/gone.png": "missing",
    }
    good = ["in/00000.png", f"{store}/ok.png", f"{store}/moved.png", f"file://{tmp_path}/in/00001.png"]
    (tmp_path / "list.txt").write_text("\n".join([good[0], *rows, *good[1:]]))
    model = serve_tiny(settings)
    result = score(settings, model, tmp_path / "list.txt", tmp_path / "out")
    found = aside(tmp_path / "out")
    assert {path: reason for path, (reason, _) in found.items()} == rows
    assert (result.scored, result.set_aside) == (len(good), len(rows))
    verify(tmp_path / "out")
    assert "http:///x.png" in found["http:///x.png"][1]  # not one slash less
    assert "nosuch://x/y.png" in found["nosuch://x/y.png"][1]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_store_that_is_out_ends_the_run(
    settings: Settings, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(drillcore_serving.batch.inputs.url_staging, "_PAUSE", 0.001)
    (tmp_path / "list.txt").write_text(f"{store}/ok.png\n{store}/{status}/x.png")
    with pytest.raises(DrillcoreError, match="run the same again"):
        score(settings, serve_tiny(settings), tmp_path / "list.txt", tmp_path / "out")


def test_so_does_one_that_nobody_answers_for(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drillcore_serving.batch.inputs.url_staging, "_PAUSE", 0.001)
    (tmp_path / "list.txt").write_text("http://127.0.0.1:9/x.png")
    with pytest.raises(DrillcoreError, match="run the same again"):
        score(settings, serve_tiny(settings), tmp_path / "list.txt", tmp_path / "out")


def test_which_hosts_a_list_may_reach_is_a_setting(settings: Settings, tmp_path: Path, store: str) -> None:
    rows = [f"{store}/ok.png", f"{store}/moved.png", "http://169.254.169.254/latest", "s3://elsewhere/x.png"]
    (tmp_path / "list.txt").write_text("\n".join(rows))
    chosen = replace(settings, list_hosts="127.0.0.*, images.example.org")
    result = score(chosen, serve_tiny(settings), tmp_path / "list.txt", tmp_path / "out")
    assert (result.scored, result.set_aside) == (1, 3)  # what is sent on is not followed: it may lead anywhere
    found = aside(tmp_path / "out")
    for path in rows[2:]:
        assert found[path][0] == "unreadable"
        assert "DRILLCORE_LIST_HOSTS" in found[path][1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError("x"), "missing"),
        (PermissionError("x"), "unreadable"),
        (OSError(errno.ENAMETOOLONG, "x"), "unreadable"),
        (ValueError("Invalid bucket name"), "unreadable"),
        (OSError(errno.EIO, "x"), ""),
        (OSError(errno.ENOSPC, "x"), ""),
        (ConnectionResetError("x"), ""),
        (TimeoutError("x"), ""),
        (RuntimeError("not known"), ""),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_what_an_error_was_made_of_counts() -> None:
    outer = OSError(errno.EIO, "a client's own")
    outer.__cause__ = ValueError("port out of range")
    assert reason_of(outer) == "unreadable"
    outer.__cause__ = ConnectionRefusedError("nobody")
    assert reason_of(outer) == ""


@pytest.mark.parametrize(
    "text", ["memory://", "memory://list.txt", "memory:///list.txt", "s3://bucket", "s3://bucket/"]
)
def test_no_url_loses_a_slash(text: str) -> None:
    path = place(text)
    assert isinstance(path, RemotePath)
    scheme = text.partition("://")[0]
    for found in (path, path.parent, path.parent / "a.png", path / "a.png"):
        assert found.url.startswith(f"{scheme}://"), found.url
        assert str(found).startswith(f"{scheme}://")
    assert (place("memory://") / "a.png").url == "memory://a.png"
    assert place("memory://in/list.txt").parent == place("memory://in")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("s3://Bucket/key", "bucket"),
        ("http://user:secret@Host.example:80/x", "host.example"),
        ("http://[::1]:80/x", "::1"),
        ("http:///x", ""),
    ],
)
def test_hosts(url: str, host: str) -> None:
    assert host_of(url) == host
