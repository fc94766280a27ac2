"""`receipt verify --signed`: from the rows to the model's file, and by its signature to recipe and data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from scoring_case import write_images
from signing_case import RECIPE, with_keys, write_keys, write_signable

from drillcore.digests import sha256_json
from drillcore.runtime.model.served import put_blob, write_pointer
from drillcore.runtime.model.signatures import keep, sign, signed_path
from drillcore.settings import Settings


def test_the_chain_from_rows_to_data(settings: Settings, drillcore: Callable[..., object], tmp_path: Path) -> None:
    pem, pub = write_keys(tmp_path)
    file = write_signable(tmp_path / "model.onnx")
    sha256 = put_blob(settings, file)
    write_pointer(settings, "tiny", 1, sha256)
    write_images(tmp_path / "in", 3)
    assert drillcore("score", "tiny", tmp_path / "in", tmp_path / "out").code == 0  # type: ignore[attr-defined]
    verify = ("receipt", "verify", tmp_path / "out", "--signed")

    def ended(*arguments: object, code: int) -> str:
        found = drillcore(*arguments)
        assert found.code == code, found  # type: ignore[attr-defined]
        text: str = found.err if code else found.out  # type: ignore[attr-defined]
        assert "--json" in arguments or len(text.splitlines()) <= 2
        return text

    assert "`trusted_keys`" in ended(*verify, code=2)
    os.environ["DRILLCORE_TRUSTED_KEYS"] = str(pub)
    keep(settings, sha256, sign(with_keys(settings, sign=pem), file, RECIPE))
    assert f"recipe {sha256_json(RECIPE)[:12]}, data 000000000000, signed by team.pub" in ended(*verify, code=0)
    (found,) = json.loads(ended(*verify, "--json", code=0))["signed"]
    assert (found["model"], found["sha256"], found["data_digest"]) == ("tiny", sha256, "0" * 64)

    kept = signed_path(settings, sha256)
    kept.write_text(kept.read_text().replace("forest", "florist"))
    assert "tiny is refused: recipe.json changed" in ended(*verify, code=1)
    assert "tiny is refused" in ended("score", "tiny", tmp_path / "in", tmp_path / "more", code=1)
    assert not (tmp_path / "more").exists()
    assert "tiny is refused" in ended("predict", file, tmp_path / "in" / "00000.png", code=1)
