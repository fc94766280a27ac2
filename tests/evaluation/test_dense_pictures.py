"""The pictures are PNG files that hold what they should: sizes, colours of the data set, the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from drillcore.errors import InputError
from drillcore.evaluation.figures.dense_metrics import dense_figures
from drillcore.evaluation.figures.precision_recall import ProbabilityHistogram
from drillcore.evaluation.pictures.dense_charts import dense_confusion_png, iou_bars_png
from drillcore.evaluation.pictures.dense_pictures import (
    VOID_COLOUR,
    LabelRow,
    ValueRow,
    label_colours,
    label_panel_png,
    pick_rows,
    value_panel_png,
)
from drillcore.evaluation.pictures.plane_maps import plane_maps_png, strongest
from drillcore.evaluation.pictures.ship_pictures import ShipRow, precision_recall_png, ship_panel_png

NAMES = ["sky", "road", "$car$"]
COLOURS = [(10, 200, 30), (200, 20, 220), (250, 240, 10)]
RNG = np.random.default_rng(0)


def pixels(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def holds(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def label_row(height: int = 60, width: int = 80) -> LabelRow:
    truth = np.zeros((height, width), np.uint8)
    truth[height // 2 :] = 1
    truth[0] = 255
    answer = np.where(truth == 255, 0, truth).astype(np.uint8)
    answer[:5, :5] = 2
    return LabelRow("worst: a$b.png", RNG.integers(0, 256, (height, width, 3), np.uint8), truth, answer)


def test_worst_median_and_best() -> None:
    assert pick_rows([0.5, 0.1, np.nan, 0.9, 0.4]) == [("worst", 1), ("median", 4), ("best", 3)]
    assert pick_rows([0.5]) == [("worst", 0)]
    assert pick_rows([0.5, 0.4]) == [("worst", 1), ("best", 0)]
    assert pick_rows([]) == []


def test_a_panel_has_the_data_sets_colours_and_the_same_bytes() -> None:
    rows = [label_row()]
    data = label_panel_png(rows, NAMES, COLOURS, "title with $")
    picture = pixels(data)
    for colour in COLOURS:
        assert holds(picture, colour) > 100
    assert label_panel_png(rows, NAMES, COLOURS, "title with $") == data
    assert pixels(label_panel_png([*rows, *rows], NAMES, COLOURS)).shape[0] > picture.shape[0]
    assert pixels(label_panel_png(rows, NAMES)).shape == picture.shape


def test_right_pixels_stay_pale_in_the_error_image() -> None:
    row = label_row()
    right = LabelRow("", row.image, row.truth, np.where(row.truth == 255, 0, row.truth))
    wrong = LabelRow("", row.image, row.truth, np.ones_like(row.truth))
    # truth and answer hold sky; the error image adds none, and road where it is wrong
    base, more = (pixels(label_panel_png([one], NAMES, COLOURS)) for one in (right, wrong))
    assert holds(more, COLOURS[1]) > 1.9 * holds(base, COLOURS[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (300, 2), (500, 1100)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    grey = RNG.integers(0, 256, (*shape, 1), np.uint8)
    labels = RNG.integers(0, 3, shape, np.uint8)
    pixels(label_panel_png([LabelRow("", grey, labels, labels)], NAMES, COLOURS))
    pixels(value_panel_png([ValueRow("", grey, grey, grey)]))
    probability = RNG.random(shape)
    pixels(ship_panel_png([ShipRow("", grey, labels, probability)]))
    pixels(plane_maps_png(grey, [("a", RNG.random((2, *shape)))], pixel=(0, 0)))


def test_values_and_charts() -> None:
    image = RNG.integers(0, 256, (30, 40, 3), np.uint8)
    grey = image[..., :1]
    pixels(value_panel_png([ValueRow("x", grey, image, 255 - image)], "colours"))
    counts = np.array([[50, 2, 0], [3, 40, 0], [0, 0, 0]])
    figures = dense_figures(counts, NAMES)
    bars = pixels(iou_bars_png(figures["per_class"], COLOURS, champion=figures["per_class"], title="a$b"))
    assert holds(bars, COLOURS[0]) > 1000
    assert holds(bars, COLOURS[2]) == 0  # no true pixel: left out
    pixels(iou_bars_png(figures["per_class"]))
    pixels(dense_confusion_png(counts, NAMES, "a$b"))
    many = [f"class {index}" for index in range(60)]
    pixels(dense_confusion_png(RNG.integers(0, 9, (60, 60)), many))


def test_ships() -> None:
    truth = np.zeros((200, 220), np.uint8)
    truth[50:60, 100:120] = 1
    probability = np.zeros(truth.shape, np.float32)
    probability[50:60, 100:110] = 0.9
    probability[150:155, 30:40] = 0.8
    image = RNG.integers(0, 60, (*truth.shape, 1), np.uint8)
    picture = pixels(ship_panel_png([ShipRow("worst", image, truth, probability)], "ships"))
    for colour in ((27, 168, 74), (232, 51, 109), (38, 120, 220)):  # found, false, missed
        assert holds(picture, colour) > 20
    nothing = ShipRow("", image, np.zeros_like(truth), np.zeros(truth.shape))
    pixels(ship_panel_png([nothing]))
    histogram = ProbabilityHistogram()
    histogram.add((truth == 1).ravel(), probability.ravel())
    pixels(precision_recall_png({"ours": histogram}, points={"ours": (0.5, 0.8), "other$": (0.3, 0.2)}))


def test_maps_of_planes_start_with_the_strongest() -> None:
    maps = np.stack([np.zeros((4, 4)), np.eye(4) * 5, np.eye(4)])
    assert strongest(maps, 2) == [1, 2]
    assert strongest(maps, 9) == [1, 2, 0]
    image = RNG.integers(0, 256, (32, 48, 3), np.uint8)
    planes = [("image", image.transpose(2, 0, 1).astype(np.float32)), ("conv1", RNG.random((64, 16, 24)))]
    pixels(plane_maps_png(image, planes, pixel=(3, 40), title="a$b"))


def test_nothing_to_draw_and_what_does_not_fit() -> None:
    row = label_row()
    with pytest.raises(InputError, match="no image"):
        label_panel_png([], NAMES, COLOURS)
    with pytest.raises(InputError, match="no image"):
        ship_panel_png([])
    with pytest.raises(InputError, match="same height"):
        label_panel_png([LabelRow("", row.image, row.truth, row.truth[:5])], NAMES, COLOURS)
    with pytest.raises(InputError, match="a colour for each of 3"):
        label_colours(3, COLOURS[:2])
    with pytest.raises(InputError, match="no class"):
        iou_bars_png({"a": {"iou": 0.0, "accuracy": 0.0, "support": 0}})
    with pytest.raises(InputError, match="no plane"):
        plane_maps_png(row.image, [])
    with pytest.raises(InputError, match=r"\[C,h,w\]"):
        plane_maps_png(row.image, [("a", np.zeros((3, 3)))])
    with pytest.raises(InputError, match="no ship pixel"):
        precision_recall_png({"ours": ProbabilityHistogram()})
    assert tuple(label_colours(3, COLOURS)[3]) == VOID_COLOUR
