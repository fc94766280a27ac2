"""`score` and `retrain` on Dask workers; `score` behind URLs, and `receipt verify` of what it wrote."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scoring_case import serve_tiny, tree, write_images
from shells import RECIPE

from drillcore.settings import Settings

Run = Callable[..., Any]


def test_a_url_in_both_places(drillcore: Run, settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    from drillcore.remote import RemotePath

    serve_tiny(settings)
    write_images(tmp_path / "in", 5, bad=(2,))
    store = RemotePath(f"memory://{uuid.uuid4().hex}")
    for name, data in tree(tmp_path / "in").items():
        (store / "in" / name).write_bytes(data)
    ended = drillcore("score", "tiny", f"{store}/in", f"{store}/out/", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["scored"] == 4
    assert json.loads(ended.out)["output"] == f"{store}/out"
    ended = drillcore("receipt", "verify", f"{store}/out")
    assert (ended.code, "4 scored + 1 set aside = 5 inputs" in ended.out) == (0, True)
    (store / "out" / "part-00000.parquet").write_bytes(b"changed")
    ended = drillcore("receipt", "verify", f"{store}/out")
    assert ended.code == 1
    assert "part-00000.parquet is changed" in ended.err
    assert drillcore("receipt", "verify", f"{store}/nothing").code == 1


REFUSED = [
    (["--scheduler", "tls://a:1"], "are for --engine dask"),
    (["--engine", "dask", "--scheduler", "tcp://10.0.0.7:8786"], "Use tls://"),
    (["--engine", "dask", "--scheduler", "10.0.0.7"], "such as tls://host:8786"),
    (["--engine", "dask", "--tls-ca", "ca.pem"], "--tls-cert is not"),
    (["--engine", "ray"], "ray"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_is_refused_before_anything_starts(
    drillcore: Run, settings: Settings, tmp_path: Path, arguments: list[str], said: str
) -> None:
    serve_tiny(settings)
    write_images(tmp_path / "in", 1)
    ended = drillcore("score", "tiny", tmp_path / "in", tmp_path / "out", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_url_of_no_kind(drillcore: Run, settings: Settings, tmp_path: Path) -> None:
    ended = drillcore("score", "tiny", "nosuch://a/in", tmp_path / "out")
    assert (ended.code, "unknown kind of URL 'nosuch'" in ended.err) == (2, True)


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_a_retrain_refuses_the_same(drillcore: Run, settings: Settings, arguments: list[str], said: str) -> None:
    ended = drillcore("retrain", "tiny", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_retrain_looks_for_its_scheduler_first(drillcore: Run, settings: Settings) -> None:
    (settings.root / "models" / "shells-forest.yaml").write_text(RECIPE)
    ended = drillcore("retrain", "shells-forest", "--engine", "dask", "--scheduler", "127.0.0.1:9")
    assert ended.code == 2
    assert "no scheduler answers at tcp://127.0.0.1:9" in ended.err
    assert not (settings.state / "runs").exists()
