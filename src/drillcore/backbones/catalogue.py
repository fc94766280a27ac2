"""The backbones there are, by name, and where their weights come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drillcore.backbones.artifacts import load_artifact
from drillcore.backbones.base import Backbone
from drillcore.backbones.plankton_cnn import build_plankton_cnn
from drillcore.backbones.squeezenet import build_squeezenet
from drillcore.backbones.weights import load_weights_file
from drillcore.errors import InputError, UnknownNameError
from drillcore.settings import Settings

WEIGHTS_FORMS = "seed:N, sha256:DIGEST of a trained backbone, or FILE.safetensors#sha256=DIGEST"


@dataclass(frozen=True, slots=True)
class Entry:
    """How a backbone of the catalogue is made.

    Attributes:
        build: (units, seed, resize) to an untrained backbone; `units` is None for one without classes.
        trainable: it has classes of its own and `training.train` can train it.
    """

    build: Callable[[int | None, int, Sequence[int] | None], Backbone]
    trainable: bool


def _plankton(architecture: str) -> Entry:
    def build(units: int | None, seed: int, resize: Sequence[int] | None) -> Backbone:
        if units is None:
            raise InputError(f"{architecture} needs the number of classes")
        if resize is not None:
            raise InputError(f"{architecture} has an input size of its own; leave resize out")
        return build_plankton_cnn(architecture, units, seed=seed)

    return Entry(build, trainable=True)


def _squeezenet(units: int | None, seed: int, resize: Sequence[int] | None) -> Backbone:
    return build_squeezenet(seed=seed, resize=resize or (224, 224))


BACKBONES: dict[str, Entry] = {
    "cnn1": _plankton("cnn1"),
    "cnn2": _plankton("cnn2"),
    "squeezenet1_0": Entry(_squeezenet, trainable=False),
}


def get_entry(name: str) -> Entry:
    """Return the entry of a backbone. Raises UnknownNameError naming the known ones."""
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    return BACKBONES[name]


def build_backbone(
    name: str,
    weights: str,
    settings: Settings,
    *,
    units: int | None = None,
    resize: Sequence[int] | None = None,
) -> Backbone:
    """Return a frozen backbone with its weights.

    Args:
        name: of the catalogue.
        weights: `seed:N` (random), `sha256:DIGEST` (a trained artifact) or `FILE.safetensors#sha256=DIGEST`.
        settings: where artifacts are; a relative FILE is under its root.
        units: number of classes, for those that have classes.
        resize: height and width, for those that take any.

    Raises:
        UnknownNameError: no such backbone.
        InputError: weights that cannot be meant or do not fit.
        IntegrityError: weights that are not what their digest says.
    """
    entry = get_entry(name)
    if match := re.fullmatch(r"seed:(\d{1,9})", weights):
        return entry.build(units, int(match[1]), resize)
    if match := re.fullmatch(r"sha256:([0-9a-f]{64})", weights):
        return load_artifact(settings, name, match[1], lambda artifact: entry.build(artifact.units, 0, resize))
    if match := re.fullmatch(r"(.+\.safetensors)#sha256=([0-9a-f]{64})", weights):
        backbone = entry.build(units, 0, resize)
        return load_weights_file(backbone, settings.root / Path(match[1]), match[2])
    raise InputError(f"weights {weights!r} of {name} cannot be read; allowed: {WEIGHTS_FORMS}")
