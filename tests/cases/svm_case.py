"""A table of classes for the tests of both support vector machines, and what scikit-learn makes of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from drillcore.heads.svm.kernel_svm import KernelSvmHead
from drillcore.heads.svm.linear_svm import LinearSvmHead

SCHEMES = ("one_vs_rest", "one_vs_one")


def table(
    seed: int = 0, rows: int = 300, features: int = 9, classes: int = 5, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows float16 [N, D] around the classes' centres, features of several scales, and labels."""
    centres = np.random.default_rng(99).normal(size=(classes, features))
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    values = centres[labels] + spread * rng.normal(size=(rows, features))
    return (values * np.logspace(-1, 1, features) + 3).astype(np.float16), labels


def standard(X: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    """Return rows float64, or `other` ones, in standard deviations of `X` from its mean."""
    scaler = StandardScaler().fit(X.astype(np.float64))
    return scaler.transform((X if other is None else other).astype(np.float64))


def forged(head: LinearSvmHead | KernelSvmHead, change: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return a fitted head's state with arrays changed, or left out where None, and its JSON as read from a file."""
    arrays, meta = head.state()
    found = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    return found, json.loads(json.dumps(meta))
