"""Figures of a classifier, by the names they have everywhere: JSON, MLflow, reports.

Shares and accuracies are fractions from 0 to 1. Ties are broken by the lowest index, as ArgMax does in the exported
graph. All sums are made in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Array, Doubles, Ints
from drillcore.errors import InputError
from drillcore.json_types import Json

LOG_LOSS_FLOOR = 1e-7
CALIBRATION_BINS = 15
FIGURES = ("accuracy", "top5_accuracy", "macro_f1", "log_loss", "expected_calibration_error")


def classification_metrics(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> Json:
    """Return the figures of a classifier on labelled images.

    Args:
        labels: true class indices, int [N], 0 to K-1.
        probabilities: one row per image, float [N,K], from 0 to 1.
        classes: names of the K columns.

    Returns:
        `accuracy`, `top5_accuracy`, `macro_f1` (over the classes present in the truth), `log_loss` (nats; clipped at
        1e-7, renormalised), `expected_calibration_error` (15 equal bins of the top probability) and `per_class`:
        name -> `precision`, `recall`, `f1`, `support`.

    Raises:
        InputError: no image, or shapes and ranges that do not fit.

    Example:
        >>> figures = classification_metrics([0, 1], [[0.9, 0.1], [0.6, 0.4]], ["cat", "dog"])
        >>> figures["accuracy"], figures["per_class"]["cat"]["recall"]
        (0.5, 1.0)
    """
    truth, rows = checked(labels, probabilities, len(classes))
    predicted = predictions(rows)
    counts = confusion_matrix(truth, predicted, len(classes))
    per_class = class_scores(counts)
    present = per_class["support"] > 0
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "top5_accuracy": float(np.mean(true_ranks(truth, rows) < 5)),
        "macro_f1": float(np.mean(per_class["f1"][present])),
        "log_loss": float(np.mean(log_losses(truth, rows))),
        "expected_calibration_error": expected_calibration_error(truth, rows),
        "per_class": {
            name: {
                "precision": float(per_class["precision"][index]),
                "recall": float(per_class["recall"][index]),
                "f1": float(per_class["f1"][index]),
                "support": int(per_class["support"][index]),
            }
            for index, name in enumerate(classes)
        },
    }


def checked(labels: ArrayLike, probabilities: ArrayLike, n_classes: int) -> tuple[Ints, Doubles]:
    """Return labels as int64 [N] and probabilities as float64 [N,K], or raise InputError."""
    truth, rows = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or not np.issubdtype(truth.dtype, np.integer):
        raise InputError(f"labels must be integers of shape [N]; got {truth.dtype} of shape {list(truth.shape)}")
    if rows.shape != (len(truth), n_classes):
        raise InputError(
            f"probabilities must have shape [{len(truth)},{n_classes}] (images, classes); got {list(rows.shape)}"
        )
    if not len(truth):
        raise InputError("there is no labelled image to evaluate on")
    if truth.min() < 0 or truth.max() >= n_classes:
        raise InputError(f"labels must be from 0 to {n_classes - 1}; got {truth.min()} to {truth.max()}")
    # A tolerance for float32 sums: 400 trees may add up to 1.0000001.
    if not np.isfinite(rows).all() or rows.min() < -1e-6 or rows.max() > 1 + 1e-4:
        raise InputError("probabilities must be finite and from 0 to 1; were logits given?")
    return truth.astype(np.int64), rows


def align_columns(probabilities: ArrayLike, classes: Sequence[str], wanted: Sequence[str]) -> Doubles:
    """Return probabilities [N,K] of `classes` in the columns of `wanted` [N,W]; a class the model lacks gets 0.

    Raises:
        InputError: a class of the model is not wanted, or the shape does not fit.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(classes):
        raise InputError(f"probabilities must have one column for each of {len(classes)} classes; got {rows.shape}")
    position = {name: index for index, name in enumerate(wanted)}
    if unwanted := [name for name in classes if name not in position]:
        raise InputError(f"classes without a column: {', '.join(sorted(unwanted)[:5])}")
    aligned = np.zeros((len(rows), len(wanted)))
    aligned[:, [position[name] for name in classes]] = rows
    return aligned


def predictions(rows: Doubles) -> Ints:
    """Return the class of the highest probability, int64 [N]; the lowest index on ties."""
    found: Ints = np.argmax(rows, axis=1).astype(np.int64)
    return found


def true_ranks(truth: Ints, rows: Doubles) -> Ints:
    """Return how many classes stand before the true one, int64 [N]; among equals the lower index stands first."""
    own = rows[np.arange(len(truth)), truth][:, None]
    before = np.arange(rows.shape[1])[None, :] < truth[:, None]
    found: Ints = np.sum((rows > own) | ((rows == own) & before), axis=1).astype(np.int64)
    return found


def log_losses(truth: Ints, rows: Doubles) -> Doubles:
    """Return -log of each image's true probability in nats, [N]; rows clipped at 1e-7 and renormalised."""
    clipped = np.clip(rows, LOG_LOSS_FLOOR, 1 - LOG_LOSS_FLOOR)
    own = clipped[np.arange(len(truth)), truth]
    return np.asarray(-np.log(own / clipped.sum(axis=1)), dtype=np.float64)


def calibration_bins(truth: Ints, rows: Doubles) -> tuple[Doubles, Doubles, Ints]:
    """Return mean top probability, accuracy and count of each of the 15 bins; 0 where a bin is empty.

    Bins are half-open to the left, ((m-1)/15, m/15], as in Guo et al. 2017, equation 3.
    """
    top = rows.max(axis=1)
    inner = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    place = np.digitize(top, inner, right=True)
    counts = np.bincount(place, minlength=CALIBRATION_BINS).astype(np.int64)
    divisor = np.maximum(counts, 1)
    confidence = np.bincount(place, weights=top, minlength=CALIBRATION_BINS) / divisor
    hits = (predictions(rows) == truth).astype(np.float64)
    return confidence, np.bincount(place, weights=hits, minlength=CALIBRATION_BINS) / divisor, counts


def expected_calibration_error(truth: Ints, rows: Doubles) -> float:
    """Return the mean gap between top probability and accuracy over the bins, weighted by their images."""
    confidence, accuracy, counts = calibration_bins(truth, rows)
    return float(np.sum(counts * np.abs(confidence - accuracy)) / counts.sum())


def confusion_matrix(truth: Ints, predicted: Ints, n_classes: int) -> Ints:
    """Return counts, int64 [K,K]: row = true class, column = predicted class."""
    flat = np.bincount(truth * n_classes + predicted, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def class_scores(counts: Ints) -> dict[str, Array]:
    """Return precision, recall, f1 (float64 [K], 0 where undefined) and support (int64 [K]) of a confusion matrix."""
    hits = np.diag(counts).astype(np.float64)
    support, answered = counts.sum(axis=1), counts.sum(axis=0)
    return {
        "precision": hits / np.maximum(answered, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(support + answered, 1),
        "support": support,
    }
