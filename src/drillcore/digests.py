"""Digests: one way to hash a file, bytes and JSON, used by manifests, store keys, receipts and models."""

from __future__ import annotations

import hashlib
import json

from drillcore.remote import AnyPath


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the lower-case hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: AnyPath) -> str:
    """Return the lower-case hexadecimal SHA-256 of a file, read in blocks.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces, so that equal values give equal bytes.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: object) -> str:
    """Return the SHA-256 of `canonical_json(value)` in UTF-8."""
    return sha256_bytes(canonical_json(value).encode())
