"""Ships drawn by hand: what is missed, what is false, what lies in the halo."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures import ships
from drillcore.evaluation.figures.ships import ShipObjects, ShipScores, all_sea, count_objects, ship_iou


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A large ship found with a rim, a small one missed, one blob far away; 40 x 40."""
    truth, answer = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[5:11, 5:15] = 1  # 60 pixels
    answer[4:12, 5:15] = 1  # all of them, and 20 above and below
    truth[30:32, 30:33] = 1  # 6 pixels, missed
    answer[20, 35:38] = 1  # 3 pixels where nothing is
    return truth, answer


def test_objects_by_hand() -> None:
    truth, answer = scene()
    found = count_objects(truth == 1, answer == 1, small=10, halo=3)
    assert found == ShipObjects(
        ships=2,
        ships_missed=1,
        small_ships=1,
        small_ships_missed=1,
        blobs=2,
        false_blobs=1,
        false_pixels=23,
        halo_pixels=20,
    )
    assert found.as_dict()["halo_share"] == pytest.approx(20 / 23)
    assert (found + found).blobs == 4
    assert count_objects(truth == 1, answer == 1, small=5, halo=0).small_ships == 0


def test_the_halo_is_a_square_of_its_width() -> None:
    truth = np.zeros((21, 21), bool)
    truth[10, 10] = True
    for halo in (1, 2, 5):
        assert count_objects(truth, np.ones_like(truth), halo=halo).halo_pixels == (2 * halo + 1) ** 2 - 1


def test_corners_touch() -> None:
    truth = np.eye(6, dtype=bool)
    assert count_objects(truth, truth).ships == 1


def test_figures_by_hand_and_all_sea_beside_them() -> None:
    truth, answer = scene()
    scores = ShipScores(small=10, halo=3)
    probability = np.where(answer == 1, 0.8, 0.0).astype(np.float32)
    assert scores.add(truth, probability).tolist() == [[1600 - 66 - 23, 23], [6, 60]]
    figures = scores.figures()
    assert figures["accuracy"] == figures["global_average"] == pytest.approx(1 - 29 / 1600)
    assert figures["ship_iou"] == pytest.approx(60 / 89) == ship_iou(scores.counts)
    assert figures["ship_f1"] == pytest.approx(120 / (66 + 83))
    assert figures["mean_squared_error"] == pytest.approx((60 * 0.04 + 23 * 0.64 + 6) / 1600)
    # two points: 83 pixels answered with 60 right, then all of them
    assert figures["average_precision"] == pytest.approx(60 / 66 * 60 / 83 + 6 / 66 * 66 / 1600)
    assert figures["per_class"]["ship"]["support"] == 66
    sea = figures["all_sea"]
    assert (sea["ship_iou"], sea["ship_f1"], sea["ships_missed"], sea["small_ships_missed"]) == (0, 0, 2, 1)
    assert sea["accuracy"] == pytest.approx(1 - 66 / 1600)
    assert sea["average_precision"] == sea["mean_squared_error"] == pytest.approx(66 / 1600)
    assert sea["false_blobs"] == sea["blobs"] == 0
    json.dumps(figures, allow_nan=False)


def test_all_sea_is_what_an_empty_answer_really_scores() -> None:
    truth, _ = scene()
    scores = ShipScores(small=10)
    scores.add(truth, np.zeros(truth.shape, np.float32))
    figures = scores.figures()
    assert all_sea(scores.counts, scores.objects) == {name: figures[name] for name in figures["all_sea"]}


def test_void_pixels_and_own_labels() -> None:
    truth, answer = scene()
    truth[0] = 255
    scores = ShipScores()
    assert scores.add(truth, np.zeros(truth.shape, np.float32), answer).sum() == 1600 - 40
    answer[:] = 1
    assert scores.add(truth, np.zeros(truth.shape, np.float32), answer)[0, 1] == 1600 - 40 - 66
    assert scores.counts.shape == (2, 2, 2)
    with pytest.raises(InputError, match="no labelled pixel"):
        ShipScores().figures()
    with pytest.raises(InputError, match="probability of ship"):
        ShipScores().add(truth, np.zeros((2, 2)))


def test_a_scene_is_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, _ = scene()
    truth[3:7] = 255
    probability = np.random.default_rng(0).random(truth.shape).astype(np.float32)
    whole, parts = ShipScores(), ShipScores()
    whole.add(truth, probability)
    monkeypatch.setattr(ships, "_BLOCK", 100)
    parts.add(truth, probability)
    summed, blocks = whole.figures(), parts.figures()
    assert blocks.pop("mean_squared_error") == pytest.approx(summed.pop("mean_squared_error"))
    assert blocks == summed


def test_half_is_sea_as_argmax_says() -> None:
    scores = ShipScores()
    assert scores.add(np.ones((1, 2), np.uint8), np.array([[0.5, 0.51]])).tolist() == [[0, 0], [1, 1]]
