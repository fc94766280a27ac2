"""Small tables and a small network for the tests of the deep belief network."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

SMALL: dict[str, Any] = {"hidden": (24, 12), "epochs": 4, "batch": 32, "device": "cpu", "threads": 1}


def table(rows: int = 600, features: int = 20, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    centres = np.random.default_rng(9).normal(size=(classes, features)) * 2
    return (centres[labels] + rng.normal(size=(rows, features)) + 5).astype(np.float16), labels


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float16), y
