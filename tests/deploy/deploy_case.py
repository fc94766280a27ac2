"""The Dockerfile, the manifests of Kubernetes and compose.yaml, as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY, SERVING = CHECKOUT / "deploy", CHECKOUT / "serving"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
USER = 10001


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (SERVING / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage; a stage begins with all of those it is made from."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            source, _, name = rest.partition(" AS ")
            found[name] = list(found.get(source, []))
        found.setdefault(name, []).append((word, rest))
    return found


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            yield path.name, document


def named(kind: str) -> dict[str, Any]:
    (found,) = [document for _, document in documents() if document["kind"] == kind]
    return found


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    text = (DEPLOY / name).read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found
