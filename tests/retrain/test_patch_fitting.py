"""What makes an image's probability of its patches' answers: the power, and a sigmoid of each class."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.heads.adaptation.head import AdaptationHead
from drillcore.representations.patches.scores import aggregated
from drillcore.retrain.fitting.patch_fitting import choose_power, class_slopes


def test_the_power_that_finds_one_sure_patch_among_many_is_chosen() -> None:
    # Images with the class have one sure patch of ten, the others are half sure everywhere: their mean is higher.
    rng = np.random.default_rng(0)
    truth = (np.arange(40) % 2).astype(np.int8)[:, None]
    answers = np.where(truth[:, None] == 1, 0.1, 0.4) + 0.02 * rng.random((40, 10, 1))
    answers[truth[:, 0] == 1, 3] = 0.9
    images = np.repeat(np.arange(40), 10)
    power, means, scores = choose_power(answers.reshape(-1, 1), images, truth)
    assert means[1] == 0.5, "the mean ranks all of them last"
    assert power == min(one for one, value in means.items() if value == 1)
    np.testing.assert_allclose(scores, aggregated(answers.reshape(-1, 1), images, power))


def test_calibrated_scores_are_probabilities_and_keep_their_order() -> None:
    rng = np.random.default_rng(1)
    scores = np.exp(rng.uniform(-20, 0, (4000, 2)))
    wanted = 1 / (1 + np.exp(-(0.6 * np.log(scores) + np.array([4.0, 8.0]))))
    truth = (rng.random(wanted.shape) < wanted).astype(np.int8)
    slopes = class_slopes(scores, truth)
    np.testing.assert_allclose(slopes, [[0.6, 4.0], [0.6, 8.0]], rtol=0.12)
    found = settled(slopes).probabilities_of(scores)
    assert np.abs(found - wanted).mean() < 0.02
    assert (np.argsort(found, axis=0) == np.argsort(scores, axis=0)).all()


@pytest.mark.parametrize("lowest", [1e-11, 1e-25])
def test_few_images_that_can_be_parted_leave_no_two_alike(lowest: float) -> None:
    scores = np.geomspace(lowest, 0.5, 24)[:, None]
    truth = (np.arange(24) >= 18).astype(np.int8)[:, None]
    found = settled(class_slopes(scores, truth)).probabilities_of(scores).astype(np.float32)[:, 0]
    assert (np.diff(found) > 0).all(), "in float32, as the file answers"
    assert found[18:].min() > 0.5 > found[:18].max()
    assert found.max() < 0.999, "six images are no proof of certainty"


def test_what_cannot_be_calibrated_keeps_its_order() -> None:
    scores = np.geomspace(1e-6, 0.5, 20)[:, None].repeat(4, axis=1)
    truth = np.zeros((20, 4), np.int8)
    truth[:, 1] = 1  # every image
    truth[:10, 2] = 1  # the lowest scores
    truth[:, 3] = [-1] * 10 + [0] * 5 + [1] * 5  # some are not judged
    slopes = class_slopes(scores, truth)
    assert slopes[:2].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert (slopes[:, 0] > 0).all()
    found = settled(slopes).probabilities_of(scores)
    assert (np.diff(found, axis=0) > 0).all()
    assert found[14, 3] < 0.5 < found[15, 3]


def settled(slopes: np.ndarray) -> AdaptationHead:
    head = AdaptationHead()
    head.settle(5, slopes)
    return head
