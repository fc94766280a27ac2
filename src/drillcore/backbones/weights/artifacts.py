"""Trained backbones as versioned artifacts: `<state>/backbones/<name>/<sha256>/{weights.safetensors, backbone.json}`.

The digest is that of the weights' file. A purpose (which model, lineage, classes, plan) points at its newest artifact,
so that later retrains use the same backbone, and with it the feature store, until a refresh is asked for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from drillcore.backbones.base import Backbone, weights_bytes
from drillcore.backbones.preprocessing import Preprocessing
from drillcore.backbones.weights.tensors import load_state
from drillcore.digests import sha256_bytes, sha256_json
from drillcore.errors import IntegrityError, UnknownNameError
from drillcore.files import atomic_folder, read_object, write_json
from drillcore.json_types import Json
from drillcore.settings import Settings

_SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One trained backbone.

    Attributes:
        name: of the catalogue.
        sha256: of `weights.safetensors`.
        units: classes.
        preprocessing: of its input.
        purpose: what it was trained for; its digest finds it again.
        training: plan, seed, device, threads, curve, best epoch, seconds, data digest, versions.
        path: its folder.
    """

    name: str
    sha256: str
    units: int
    preprocessing: Preprocessing
    purpose: Json
    training: Json = field(default_factory=dict)
    path: Path = field(default=Path(), compare=False)


def artifacts_folder(settings: Settings, name: str) -> Path:
    """Return the folder of all artifacts of a backbone."""
    return settings.state / "backbones" / name


def save_artifact(settings: Settings, backbone: Backbone, *, units: int, purpose: Json, training: Json) -> Artifact:
    """Write a trained backbone, whole or not at all, and point its purpose at it; one that is there is kept."""
    data = weights_bytes(backbone.module)
    sha256 = sha256_bytes(data)
    artifact = Artifact(
        name=backbone.name,
        sha256=sha256,
        units=units,
        preprocessing=backbone.preprocessing,
        purpose=purpose,
        training=training,
        path=artifacts_folder(settings, backbone.name) / sha256,
    )
    if not (artifact.path / "backbone.json").is_file():
        with atomic_folder(artifact.path) as folder:
            (folder / "weights.safetensors").write_bytes(data)
            values = {key: value for key, value in dataclasses.asdict(artifact).items() if key != "path"}
            write_json(folder / "backbone.json", {"schema": _SCHEMA} | values)
    write_json(_pointer(settings, backbone.name, purpose), {"sha256": sha256, "purpose": purpose})
    return artifact


def read_artifact(settings: Settings, name: str, sha256: str) -> Artifact:
    """Return what is known of a trained backbone.

    Raises:
        UnknownNameError: there is none of that digest.
        IntegrityError: its record cannot be read.
    """
    folder = artifacts_folder(settings, name) / sha256
    if not (folder / "backbone.json").is_file():
        known = [path.parent.name for path in artifacts_folder(settings, name).glob("*/backbone.json")]
        raise UnknownNameError(f"trained {name}", sha256, known)
    try:
        values: Json = read_object(folder / "backbone.json")
        if values.pop("schema") != _SCHEMA or values["sha256"] != sha256:
            raise ValueError("schema or digest")
        return Artifact(**values, path=folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"the record of {name} {sha256[:12]} is damaged ({error}); remove its folder, a retrain makes it anew"
        ) from None


def load_artifact(settings: Settings, name: str, sha256: str, build: Callable[[Artifact], Backbone]) -> Backbone:
    """Return a trained backbone, its digest verified.

    Args:
        settings: where artifacts are.
        name: of the catalogue.
        sha256: of its weights.
        build: makes the untrained backbone of an artifact.

    Raises:
        UnknownNameError: there is none of that digest.
        IntegrityError: it is not what its digest says.
    """
    artifact = read_artifact(settings, name, sha256)
    fresh = build(artifact)
    load_state(fresh.module, artifact.path / "weights.safetensors", sha256)
    return Backbone(name, fresh.module, fresh.taps, artifact.preprocessing, sha256)


def latest_artifact(settings: Settings, name: str, purpose: Json) -> Artifact | None:
    """Return the newest trained backbone of a purpose whose files are there; None: train one."""
    pointer = _pointer(settings, name, purpose)
    if not pointer.is_file():
        return None
    try:
        sha256 = read_object(pointer)["sha256"]
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            return None
        return read_artifact(settings, name, sha256)
    except (OSError, ValueError, KeyError, UnknownNameError):
        return None


def checkpoint_path(settings: Settings, name: str, purpose: Json) -> Path:
    """Return where the training for a purpose keeps its checkpoint."""
    return artifacts_folder(settings, name) / "training" / f"{sha256_json(purpose)[:32]}.safetensors"


def _pointer(settings: Settings, name: str, purpose: Json) -> Path:
    return artifacts_folder(settings, name) / "purposes" / f"{sha256_json(purpose)[:32]}.json"
