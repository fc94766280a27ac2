"""Who may ask: any of several API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from drillcore.errors import InputError

KEYS_VARIABLE = "DRILLCORE_API_KEYS"
MIN_LENGTH = 16  # characters; a shorter key can be guessed


class ApiKeys:
    """A set of keys that never leaves this object; none: everything is allowed.

    >>> ApiKeys(["correct-horse-battery"]).allows("wrong"), ApiKeys([]).allows("")
    (False, True)
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def allows(self, key: str) -> bool:
        """Tell whether `key` is one of them; takes the same time whichever it is, and whether it is one."""
        if not self._digests:
            return True
        given = _digest(key)
        # A list, not any(): every key is compared.
        return sum([hmac.compare_digest(given, digest) for digest in self._digests]) > 0

    def allow_headers(self, headers: Mapping[str, str]) -> bool:
        """Tell whether `Authorization: Bearer KEY` or `X-Api-Key: KEY` opens; where both are given both must fit."""
        given = []
        if "authorization" in headers:
            scheme, _, bearer = headers["authorization"].partition(" ")
            given.append(bearer.strip() if scheme.lower() == "bearer" else "")
        if "x-api-key" in headers:
            given.append(headers["x-api-key"])
        fits = [self.allows(key) for key in given or [""]]
        return all(fits)


def read_keys(file: Path | None, env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the keys of a file (one a line, # begins a comment) and of DRILLCORE_API_KEYS (divided by commas).

    Raises:
        InputError: the file cannot be read or holds none, or a key is short or not printable ASCII.
    """
    keys = [key.strip() for key in (os.environ if env is None else env).get(KEYS_VARIABLE, "").split(",")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the file of API keys {file.name} cannot be read: {type(error).__name__}") from None
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise InputError(f"the file of API keys {file.name} holds none; one a line is expected")
        keys += found
    keys = list(dict.fromkeys(key for key in keys if key))
    for number, key in enumerate(keys, 1):
        if len(key) < MIN_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"API key {number} of {len(keys)}: at least {MIN_LENGTH} printable ASCII characters without spaces are "
                "expected; `openssl rand -hex 32` makes one"
            )
    return tuple(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
