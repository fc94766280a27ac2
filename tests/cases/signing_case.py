"""Keys to sign with, and a tiny model that knows its recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tiny_models import write_tiny_model

from drillcore.digests import sha256_json
from drillcore.settings import Settings

RECIPE = {"name": "tiny", "head": {"name": "forest", "params": {"n_estimators": 10}}}


def write_keys(folder: Path, name: str = "team", *, password: str = "", curve: bool = True) -> tuple[Path, Path]:
    """Write NAME.pem and NAME.pub, an elliptic curve's or RSA's, and return their paths."""
    private = ec.generate_private_key(ec.SECP256R1()) if curve else rsa.generate_private_key(65537, 2048)
    hidden: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    pem, pub = folder / f"{name}.pem", folder / f"{name}.pub"
    form = serialization.PrivateFormat.PKCS8
    pem.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, hidden))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    pub.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, public))
    return pem, pub


def with_keys(settings: Settings, *, sign: Path | None = None, trust: tuple[Path, ...] = ()) -> Settings:
    """Settings that sign with one key and trust others."""
    return dataclasses.replace(
        settings, signing_key=str(sign) if sign else "", trusted_keys=",".join(str(key) for key in trust)
    )


def write_signable(path: Path, **changes: object) -> Path:
    """Write a tiny model that was made by RECIPE."""
    return write_tiny_model(path, recipe_sha256=sha256_json(RECIPE), **changes)
