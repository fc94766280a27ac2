"""What a signature vouches for: exactly one file, recipe and data digest, by a key that is trusted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from signing_case import RECIPE, with_keys, write_keys, write_signable

from drillcore.digests import sha256_file, sha256_json
from drillcore.errors import InputError, IntegrityError, SignatureError
from drillcore.runtime.model.served import put_blob, resolve, write_pointer
from drillcore.runtime.model.signatures import check_keys, keep, require, sign, signed_path, verify
from drillcore.settings import Settings
from drillcore_serving.online.sources import source_of


@pytest.fixture
def keyed(settings: Settings, tmp_path: Path) -> Settings:
    pem, pub = write_keys(tmp_path)
    return with_keys(settings, sign=pem, trust=(pub,))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_signable(tmp_path / "files" / "model.onnx")


@pytest.fixture
def text(keyed: Settings, model: Path) -> str:
    return sign(keyed, model, RECIPE)


def test_it_names_file_recipe_data_and_key(keyed: Settings, model: Path, text: str) -> None:
    signed = verify(keyed, text, model, "tiny")
    assert (signed.model, signed.sha256) == ("tiny", sha256_file(model))
    assert (signed.recipe_sha256, signed.data_digest) == (sha256_json(RECIPE), "0" * 64)
    assert signed.key.name == "team.pub"
    assert json.loads(json.loads(text)["recipe.json"]) == RECIPE


def test_openssf_s_own_program_accepts_it(
    keyed: Settings, model: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from model_signing._cli import main

    (folder := tmp_path / "given").mkdir()
    shutil.copy(model, folder / "model.onnx")
    for name, content in json.loads(text).items():
        (tmp_path / name if name == "model.sig" else folder / name).write_text(content)
    command = ["verify", "key", str(folder), "--signature", str(tmp_path / "model.sig")]
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(main, [*command, "--public_key", str(keyed.public_keys[0])])
    assert ended.exit_code == 0, ended.output
    assert "succeeded" in ended.output
    (folder / "recipe.json").write_text("{}")
    assert CliRunner().invoke(main, [*command, "--public_key", str(keyed.public_keys[0])]).exit_code == 1


@pytest.mark.parametrize("name", ["recipe.json", "version.json"])
def test_a_tampered_recipe_or_data_digest(keyed: Settings, model: Path, text: str, name: str) -> None:
    parts = json.loads(text)
    parts[name] = parts[name].replace("10" if name == "recipe.json" else "00", "11")
    with pytest.raises(SignatureError, match=f"^tiny is refused: {name} changed") as caught:
        verify(keyed, json.dumps(parts), model, "tiny")
    assert "\n" not in str(caught.value)


def test_a_tampered_file_or_another_one(keyed: Settings, model: Path, text: str, tmp_path: Path) -> None:
    other = write_signable(tmp_path / "other.onnx", bias=1.0)
    with pytest.raises(SignatureError, match=r"model\.onnx changed"):
        verify(keyed, text, other, "tiny")
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(SignatureError, match=r"model\.onnx changed"):
        verify(keyed, text, model, "tiny")


def test_the_file_of_another_model(keyed: Settings, model: Path, text: str) -> None:
    with pytest.raises(SignatureError, match="signed as one of the model tiny"):
        verify(keyed, text, model, "plankton")


def test_the_recipe_must_be_the_file_s(keyed: Settings, model: Path) -> None:
    with pytest.raises(IntegrityError, match="another recipe"):
        sign(keyed, model, {**RECIPE, "name": "other"})


def test_keys_follow_one_another(keyed: Settings, model: Path, text: str, tmp_path: Path) -> None:
    word = "open sesame"
    pem, pub = write_keys(tmp_path, "next", password=word)
    with pytest.raises(SignatureError, match="none of the trusted keys"):
        verify(with_keys(keyed, trust=(pub,)), text, model, "tiny")
    both = with_keys(keyed, sign=pem, trust=(pub, *keyed.public_keys))
    assert verify(both, text, model, "tiny").key.name == "team.pub"
    with pytest.raises(InputError, match=r"next\.pem.*is expected"):
        check_keys(both)
    opened = dataclasses.replace(both, signing_password=word)
    assert verify(opened, sign(opened, model, RECIPE), model, "tiny").key.name == "next.pub"
    assert word not in f"{opened} {opened.as_dict()}"
    with pytest.raises(SignatureError, match="none of the trusted keys"):
        sign(dataclasses.replace(opened, trusted_keys=str(keyed.public_keys[0])), model, RECIPE)


@pytest.mark.parametrize("kind", ["rsa", "text", "absent"])
def test_keys_that_are_none_are_said_at_once(settings: Settings, tmp_path: Path, kind: str) -> None:
    pem, pub = write_keys(tmp_path, curve=kind != "rsa")
    for path in (pem, pub):
        if kind == "text":
            path.write_text("ssh-ed25519 AAAA")
        elif kind == "absent":
            path.unlink()
    for wrong in (with_keys(settings, sign=pem), with_keys(settings, trust=(pub,))):
        with pytest.raises(InputError, match=r"team\.p(em|ub): a PEM file with a key of the curve") as caught:
            check_keys(wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda parts: "",
        lambda parts: "[" * 100_000,
        lambda parts: json.dumps({**parts, "more.json": ""}),
        lambda parts: json.dumps({**parts, "model.sig": 1}),
        lambda parts: json.dumps({**parts, "model.sig": "{}"}),
        lambda parts: json.dumps({**parts, "model.sig": "[]"}),
        lambda parts: json.dumps({**parts, "model.sig": parts["model.sig"].replace('"sig":', '"gis":')}),
        lambda parts: json.dumps({**parts, "model.sig": parts["model.sig"].replace('"payload":"e', '"payload":"f')}),
    ],
)
def test_damaged_signatures_are_one_line(keyed: Settings, model: Path, text: str, damage: object) -> None:
    damaged = damage(json.loads(text))  # type: ignore[operator]
    assert damaged != text
    with pytest.raises(SignatureError, match=r"^tiny is refused: ") as caught:
        verify(keyed, damaged, model, "tiny")
    assert "\n" not in str(caught.value)


def test_what_is_scored_and_served_must_be_signed(keyed: Settings, model: Path, text: str) -> None:
    sha256 = put_blob(keyed, model)
    write_pointer(keyed, "tiny", 1, sha256)
    lax = with_keys(keyed)
    assert require(lax, "tiny", sha256, model) is None
    for reference in ("tiny", str(model)):
        source_of(lax, reference).read()
        with pytest.raises(SignatureError, match="no signature of its file"):
            source_of(keyed, reference).read()
    with pytest.raises(SignatureError, match="`drillcore fetch tiny`"):
        resolve(keyed, "tiny")
    keep(keyed, sha256, text)
    assert resolve(keyed, "tiny").version == 1
    for reference in ("tiny", str(model)):
        assert source_of(keyed, reference).read()[0].sha256 == sha256
    keep(keyed, sha256, text.replace("forest", "florist"))  # what held a moment ago is looked at again
    with pytest.raises(SignatureError, match=r"recipe\.json changed"):
        resolve(keyed, "tiny")


def test_a_good_signature_of_another_version_is_no_good(
    keyed: Settings, model: Path, text: str, tmp_path: Path
) -> None:
    newer = put_blob(keyed, write_signable(tmp_path / "newer.onnx", bias=1.0))
    write_pointer(keyed, "tiny", 2, newer)
    keep(keyed, sha256_file(model), text)
    shutil.copy(signed_path(keyed, sha256_file(model)), signed_path(keyed, newer))
    with pytest.raises(SignatureError, match=r"model\.onnx changed"):
        resolve(keyed, "tiny")
