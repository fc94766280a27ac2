"""Figures of labelled pixels against ones worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures import dense_metrics
from drillcore.evaluation.figures.dense_metrics import (
    ImageConfusions,
    align_counts,
    confusion_axes,
    dense_figures,
    images_of_class,
    pooled_figure,
)

NAMES = ["sky", "road", "car"]
VOID = 3
#        truth          answered
# sky    0 0 0 0        0 0 0 1      3 of 4
# road   1 1 1 .        1 2 2 0      1 of 3, the last pixel void
TRUTH = np.array([[0, 0, 0, 0], [1, 1, 1, VOID]], np.uint8)
ANSWER = np.array([[0, 0, 0, 1], [1, 2, 2, 0]], np.uint8)


def test_worked_out_by_hand() -> None:
    confusions = ImageConfusions(NAMES)
    assert confusions.add(TRUTH, ANSWER).tolist() == [[3, 1, 0], [0, 1, 2], [0, 0, 0]]
    figures = dense_figures(confusions.counts, confusions.axes)
    assert figures["class_average"] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert figures["global_average"] == pytest.approx(4 / 7)
    # sky 3/4; road 1/(3+2-1); car is never true: it adds no term
    assert figures["mean_iou"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert figures["per_class"]["road"] == {
        "accuracy": pytest.approx(1 / 3),
        "iou": 0.25,
        "precision": 0.5,
        "support": 3,
        "images": 1,
    }
    assert figures["per_class"]["car"] == {"accuracy": 0.0, "iou": 0.0, "precision": 0.0, "support": 0, "images": 0}


def test_sums_over_images_come_before_shares() -> None:
    confusions = ImageConfusions(["a", "b"])
    confusions.add(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))  # right
    confusions.add(np.zeros((1, 3), np.uint8), np.ones((1, 3), np.uint8))  # wrong, and larger
    figures = dense_figures(confusions.counts, confusions.axes)
    assert figures["global_average"] == 0.25  # not (1 + 0) / 2
    assert len(confusions) == 2
    assert confusions.counts.shape == (2, 2, 2)


def test_void_is_never_judged_and_an_image_of_void_counts_nothing() -> None:
    confusions = ImageConfusions(NAMES)
    for void in (VOID, 255):
        assert confusions.add(np.full((2, 2), void, np.uint8), np.ones((2, 2), np.uint8)).sum() == 0
    with pytest.raises(InputError, match="no labelled pixel"):
        dense_figures(confusions.counts, confusions.axes)
    with pytest.raises(InputError, match="no labelled pixel"):
        dense_figures(ImageConfusions(NAMES).counts, NAMES)
    signed = np.array([[-1, 0]])
    assert confusions.add(signed, np.zeros((1, 2), np.uint8)).sum() == 1


def test_large_images_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 4, (50, 31), np.uint8), rng.integers(0, 3, (50, 31), np.uint8)
    whole = ImageConfusions(NAMES).add(truth, answer)
    monkeypatch.setattr(dense_metrics, "_BLOCK", 100)
    assert (ImageConfusions(NAMES).add(truth, answer) == whole).all()
    expected = [[np.sum((truth == i) & (answer == j)) for j in range(3)] for i in range(3)]
    assert whole.tolist() == expected


def test_a_model_with_other_classes() -> None:
    assert confusion_axes(["a", "b"], ["b", "z"]) == ("a", "b", "z")
    confusions = ImageConfusions(["a", "b"], ["b", "z"])
    # the model's 0 is b, its 1 is z
    counts = confusions.add(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]))
    assert counts.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert dense_figures(counts, confusions.axes)["class_average"] == 0.25
    aligned = align_counts(counts, confusions.axes, ["z", "a", "b"])
    assert aligned[0].tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 1]]
    with pytest.raises(InputError, match="without a place: z"):
        align_counts(counts, confusions.axes, ["a", "b"])


def test_what_does_not_fit() -> None:
    confusions = ImageConfusions(NAMES)
    with pytest.raises(InputError, match="from 0 to 2; got 0 to 3"):
        confusions.add(TRUTH, TRUTH)
    with pytest.raises(InputError, match=r"\[2, 4\] and \[4, 2\]"):
        confusions.add(TRUTH, ANSWER.T)
    with pytest.raises(InputError, match="integers"):
        confusions.add(TRUTH, ANSWER.astype(np.float32))
    with pytest.raises(InputError, match=r"\[M,2,2\]"):
        dense_figures(np.zeros((3, 3), int), ["a", "b"])
    with pytest.raises(InputError, match="negative"):
        dense_figures(np.array([[1, -1], [0, 1]]), ["a", "b"])
    with pytest.raises(UnknownNameError, match="mean_iou"):
        pooled_figure("miou")
    with pytest.raises(InputError, match="two classes"):
        pooled_figure("ship_iou")(np.ones((1, 3, 3)))


def test_pooled_figures_are_those_of_each_matrix() -> None:
    rng = np.random.default_rng(1)
    matrices = rng.integers(0, 50, (5, 2, 2))
    matrices[0, 1] = 0  # a class without a pixel
    for name in dense_metrics.FIGURES:
        expected = [dense_figures(one, ["sea", "ship"])[name] for one in matrices]
        assert pooled_figure(name)(matrices.astype(float)).tolist() == pytest.approx(expected)
    iou = [one[1, 1] / (one[1].sum() + one[0, 1]) for one in matrices]
    assert pooled_figure("ship_iou")(matrices.astype(float)).tolist() == pytest.approx(iou)
    f1 = [2 * one[1, 1] / (one[1].sum() + one[:, 1].sum()) for one in matrices]
    assert pooled_figure("ship_f1")(matrices.astype(float)).tolist() == pytest.approx(f1)
    assert pooled_figure("ship_iou")(np.zeros((1, 2, 2))).tolist() == [0.0]


def test_images_of_a_class() -> None:
    counts = np.array([[[1, 0], [0, 0]], [[0, 2], [3, 0]]])
    assert images_of_class(counts).tolist() == [2, 1]
