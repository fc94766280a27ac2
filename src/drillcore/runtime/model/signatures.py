"""Signatures of a model file, its recipe and the digest of its data: OpenSSF's model signing, by keys of one's own.

What is signed is a folder of three files, which `model_signing verify key` of any other machine can check too:

model.onnx     the file
recipe.json    the recipe; its SHA-256 is the file's `recipe_sha256`
version.json   model, data digest, lineage, git revision and recipe digest, as the file itself has them

The two small ones and `model.sig` (a Sigstore bundle: a DSSE envelope of an in-toto statement) are kept as one JSON
text: a tag of the registered version, and .drillcore/served/signed/<sha256>.json of what was fetched.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from drillcore.digests import canonical_json, sha256_json
from drillcore.errors import InputError, IntegrityError, SignatureError, first_line
from drillcore.files import file_stamp, write_text
from drillcore.json_types import Json
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.safety import check_model_bytes
from drillcore.runtime.model.session import read_model
from drillcore.settings import Settings

TAG = "signature"  # of a registered version
_MODEL, _RECIPE, _VERSION, _BUNDLE = "model.onnx", "recipe.json", "version.json", "model.sig"
_FACTS = ("model", "data_digest", "lineage", "git", "recipe_sha256")
_MAX_TEXT = 2**20
_LOST = f"""Signature mismatch: ["Missing files in model 'signed': {_MODEL}"]"""  # and nothing else is amiss


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature vouches for, once it is verified.

    Attributes:
        model: name of the model.
        sha256: of its file.
        recipe_sha256: of its recipe.
        data_digest: of the rows it learned from.
        git: revision of the code that made it.
        key: the trusted key that it was made with.
    """

    model: str
    sha256: str
    recipe_sha256: str
    data_digest: str
    git: str
    key: Path

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {name: str(getattr(self, name)) for name in self.__slots__}

    def __str__(self) -> str:
        recipe, data = self.recipe_sha256[:12], self.data_digest[:12]
        return f"file {self.sha256[:12]}, recipe {recipe}, data {data}, signed by {self.key.name}"


def sign(settings: Settings, model_file: Path, recipe: Mapping[str, object]) -> str:
    """Sign a model file with the settings' `signing_key` and return the text that is kept with its version.

    Args:
        settings: the key; where keys are trusted, the signature must be of one of them.
        model_file: an exported file.
        recipe: `Recipe.to_dict()` of what the file was made by.

    Raises:
        InputError: the key cannot be used.
        IntegrityError: the file was made by another recipe.
        SignatureError: keys are trusted, and this is none of them.
    """
    signer = _signer(settings)
    facts = ModelMetadata.of_model(check_model_bytes(read_model(model_file)))
    if sha256_json(recipe) != facts.recipe_sha256:
        raise IntegrityError(f"{model_file} was made by another recipe than the one it is to be signed with")
    texts = {
        _RECIPE: canonical_json(recipe),
        _VERSION: canonical_json({name: getattr(facts, name) for name in _FACTS}),
    }
    with _laid_out(texts, model_file) as folder:
        signer.sign(folder / "signed", folder / _BUNDLE)
        texts[_BUNDLE] = (folder / _BUNDLE).read_text(encoding="utf-8")
    text = canonical_json(texts)
    if settings.public_keys:
        verify(settings, text, model_file, facts.model)
    return text


def check_keys(settings: Settings) -> None:
    """Read the keys that the settings name. Raises InputError: one of them cannot be used."""
    if settings.signing_key:
        _signer(settings)
    for key in settings.public_keys:
        _verifier(key)


def verify(settings: Settings, text: str, model_file: Path | None, model: str) -> Signed:
    """Verify that a trusted key has signed exactly this file, with a recipe and data, for this model.

    Args:
        settings: the trusted keys.
        text: what `sign` returned.
        model_file: the file; None: it is lost, and `sha256` says which one was signed.
        model: the name that the file goes by.

    Raises:
        InputError: a trusted key cannot be read.
        SignatureError: no key is trusted, or the signature is damaged, of another key, other files or another model.
    """
    texts = _texts(text, model)
    changed = ""
    for key in settings.public_keys:
        verifier = _verifier(key)
        with _laid_out(texts, model_file) as folder:
            try:
                verifier.verify(folder / "signed", folder / _BUNDLE)
            except Exception as error:  # noqa: BLE001 - what is no bundle fails in as many ways as there are texts
                # The key was right where the files are compared at all.
                if model_file is not None or str(error) != _LOST:
                    changed = changed or (str(error) if str(error).startswith("Signature mismatch") else "")
                    continue
        return _signed(texts, model, key)
    if changed:
        here = (_MODEL, _RECIPE, _VERSION) if model_file is not None else (_RECIPE, _VERSION)
        names = [name for name in here if name in changed] or ["another set of files"]
        raise SignatureError(
            f"{model} is refused: {' and '.join(names)} changed after the version was signed; restore the registry "
            "from a backup, or rebuild the version"
        )
    raise SignatureError(
        f"{model} is refused: none of the trusted keys has signed it, or its signature is damaged; `drillcore sign` "
        "signs a version that you know to be right"
    )


def signed_path(settings: Settings, sha256: str) -> Path:
    """Return where the signature of a fetched file stands."""
    return settings.served / "signed" / f"{sha256}.json"


def keep(settings: Settings, sha256: str, text: str) -> None:
    """Keep the signature of a file that was fetched. Raises OSError."""
    if not signed_path(settings, sha256).is_file() or _read(settings, sha256) != text:
        write_text(signed_path(settings, sha256), text)


def require(settings: Settings, model: str, sha256: str, model_file: Path) -> Signed | None:
    """Refuse a file that no trusted key has signed; where no key is trusted, ask nothing and return None.

    Raises:
        InputError: a trusted key cannot be read.
        SignatureError: there is no signature of this file here, or it does not hold.
    """
    if not settings.public_keys:
        return None
    kept = signed_path(settings, sha256)
    if not kept.is_file():
        raise SignatureError(
            f"{model} is refused: no signature of its file {sha256[:12]} is here, and `trusted_keys` asks for one; "
            f"`drillcore fetch {model}` brings the one it was registered with, `drillcore sign {model}` makes one"
        )
    looked_at = tuple(file_stamp(path) for path in (kept, model_file, *settings.public_keys))
    signed = _verified(settings, sha256, model_file, model, looked_at)
    if signed.sha256 != sha256:
        raise SignatureError(f"{model} is refused: the signature kept for {sha256[:12]} is of {signed.sha256[:12]}")
    return signed


@lru_cache(maxsize=64)
def _verified(settings: Settings, sha256: str, model_file: Path, model: str, _looked_at: object) -> Signed:
    """Remember what held while nothing changed: a watcher looks every few seconds."""
    return verify(settings, _read(settings, sha256), model_file, model)


def _read(settings: Settings, sha256: str) -> str:
    return signed_path(settings, sha256).read_text(encoding="utf-8", errors="replace")


def _texts(text: str, model: str) -> dict[str, str]:
    """Return the files that a kept text holds. Raises SignatureError."""
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError("it is too long")
        found = json.loads(text)
        names = (_RECIPE, _VERSION, _BUNDLE)
        if not isinstance(found, dict) or set(found) != set(names):
            raise ValueError("a recipe, a version and a bundle are expected")
        if not all(isinstance(found[name], str) for name in names):
            raise ValueError("texts are expected")
    except (ValueError, RecursionError) as error:
        raise SignatureError(
            f"{model} is refused: its signature is damaged ({first_line(error)}); fetch it again"
        ) from None
    return {name: found[name] for name in names}


def _signed(texts: Mapping[str, str], model: str, key: Path) -> Signed:
    """Return what a bundle that holds says. Raises SignatureError: it is of another model."""
    try:
        facts: Json = json.loads(texts[_VERSION])
        envelope = json.loads(texts[_BUNDLE])["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
        sha256 = {item["name"]: item["digest"] for item in statement["predicate"]["resources"]}[_MODEL]
        named = {name: facts[name] for name in ("model", "recipe_sha256", "data_digest", "git")}
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise SignatureError(f"{model} is refused: what was signed is not of drillcore ({first_line(error)})") from None
    if named["model"] != model:
        raise SignatureError(f"{model} is refused: its file was signed as one of the model {named['model']}")
    return Signed(model, sha256, named["recipe_sha256"], named["data_digest"], named["git"], key)


@contextlib.contextmanager
def _laid_out(texts: Mapping[str, str], model_file: Path | None) -> Iterator[Path]:
    """Give a folder with `signed`, which holds what is signed, and the bundle beside it where there is one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "signed").mkdir()
        if model_file is not None:
            (folder / "signed" / _MODEL).symlink_to(model_file.absolute())
        for name, text in texts.items():
            (folder / _BUNDLE if name == _BUNDLE else folder / "signed" / name).write_text(text, encoding="utf-8")
        yield folder


def _hashing() -> Any:
    from model_signing import hashing

    # The model is a link to where it lies.
    return hashing.Config().use_file_serialization().set_allow_symlinks(True)


def _signer(settings: Settings) -> Any:
    from model_signing import signing

    if settings.private_key is None:
        raise InputError("there is no `signing_key` in the settings: nothing can be signed")
    password: Any = settings.signing_password.encode() or None  # cryptography takes bytes
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=settings.private_key, password=password)
    except Exception as error:  # noqa: BLE001 - cryptography's errors share no base class
        raise InputError(f"`signing_key` {settings.private_key}: {_KEY} ({first_line(error)})") from None
    return config.set_hashing_config(_hashing())


def _verifier(key: Path) -> Any:
    from model_signing import verifying

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # noqa: BLE001 - cryptography's errors share no base class
        raise InputError(f"`trusted_keys` {key}: {_KEY} ({first_line(error)})") from None
    return config.set_hashing_config(_hashing())


_KEY = "a PEM file with a key of the curve P-256, P-384 or P-521 is expected"
