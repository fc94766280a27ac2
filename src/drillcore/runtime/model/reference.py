"""Which model is meant: `NAME`, `NAME@ALIAS` or `NAME@VERSION`; or an exported file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drillcore.errors import InputError

DEFAULT_ALIAS = "champion"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_RESERVED = re.compile(r"latest|v[0-9]+", re.IGNORECASE)  # MLflow keeps these for itself


def is_model_file(text: str) -> bool:
    """Whether a model is named by its file: no recipe's name ends in `.onnx`."""
    return text.lower().endswith(".onnx")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model's name with either an alias or a version; neither means the champion."""

    name: str
    alias: str | None = None
    version: int | None = None

    @property
    def key(self) -> str:
        """The alias or version as it is written after the `@`."""
        return str(self.version) if self.version is not None else self.alias or DEFAULT_ALIAS

    @property
    def is_default(self) -> bool:
        """Whether the champion is meant."""
        return self.version is None and self.alias in (None, DEFAULT_ALIAS)

    def __str__(self) -> str:
        return self.name if self.is_default else f"{self.name}@{self.key}"


def parse_reference(text: str) -> ModelReference:
    """Parse `NAME[@ALIAS|@VERSION]`.

    >>> parse_reference("plankton-forest@3")
    ModelReference(name='plankton-forest', alias=None, version=3)

    Raises:
        InputError: not of that form.
    """
    name, at, rest = text.partition("@")
    expected = "NAME, NAME@ALIAS or NAME@VERSION is expected, for instance plankton-forest@champion"
    if not _NAME.fullmatch(name):
        raise InputError(f"model reference {text!r}: {name!r} is no model name; {expected}")
    if not at:
        return ModelReference(name)
    if _VERSION.fullmatch(rest):
        return ModelReference(name, version=int(rest))
    if not _ALIAS.fullmatch(rest) or _RESERVED.fullmatch(rest):
        raise InputError(f"model reference {text!r}: {rest!r} is neither an alias nor a version; {expected}")
    return ModelReference(name, alias=rest)
