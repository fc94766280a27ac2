"""Pictures: PNGs of a readable size, the same bytes again, nothing global touched; the order gathers the confused."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from drillcore.errors import InputError
from drillcore.evaluation.figures.metrics import classification_metrics
from drillcore.evaluation.pictures import plots


def answers(n_classes: int, images: int = 300) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(n_classes)
    truth = rng.integers(0, n_classes, images)
    rows = rng.dirichlet(np.full(n_classes, 0.2), images) * 0.6
    rows[np.arange(images), truth] += 0.4
    return truth, rows, [f"class_{index}_$x" for index in range(n_classes)]


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        image.load()
        return image.size


@pytest.mark.parametrize("n_classes", [2, 13, 121])
def test_the_confusion_matrix_grows_with_the_classes(n_classes: int) -> None:
    width, height = size(plots.confusion_png(*answers(n_classes)))
    assert min(width, height) >= 500
    if n_classes == 121:
        # 12 pixels and more for a row: the height of a name at 7 points is 10.
        assert min(width, height) > 121 * 12 + 200


def test_the_same_figures_give_the_same_bytes() -> None:
    assert plots.confusion_png(*answers(5)) == plots.confusion_png(*answers(5))


def test_confused_classes_become_neighbours() -> None:
    counts = np.full((6, 6), 0) + np.eye(6, dtype=int) * 50
    for one, other in ((0, 3), (1, 4), (2, 5)):
        counts[one, other] = counts[other, one] = 40
    order = plots.similar_order(counts).tolist()
    assert sorted(order) == list(range(6))
    for one, other in ((0, 3), (1, 4), (2, 5)):
        assert abs(order.index(one) - order.index(other)) == 1


def test_classes_without_an_image_and_answers_are_left_out() -> None:
    truth, rows = np.array([0, 0, 2]), np.eye(30)[[0, 2, 2]]
    few = size(plots.confusion_png(truth, rows, [f"class {index}" for index in range(30)]))
    assert few[1] < 900


def test_the_others() -> None:
    truth, rows, classes = answers(13)
    assert min(size(plots.calibration_png(truth, rows, classes))) >= 500
    per_class = classification_metrics(truth, rows, classes)["per_class"]
    alone, compared = plots.class_bars_png(per_class), plots.class_bars_png(per_class, champion=per_class)
    assert alone != compared
    size(compared)
    size(plots.curves_png({"train_loss": [3.0, 2.0], "val_loss": [3.0, float("nan")], "val_accuracy": [0.1, 0.2]}))
    size(plots.curves_png({"train_loss": [3.0]}))
    size(plots.class_shares_png({"train": {"ant": 100, "bee": 1}, "val": {"ant": 3}, "none": {}}))


def test_nothing_to_draw_is_one_line() -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        plots.curves_png({})
    with pytest.raises(InputError, match="nothing to draw"):
        plots.class_bars_png({"ant": {"f1": 0.0, "support": 0}})
    with pytest.raises(InputError, match="nothing to draw"):
        plots.class_shares_png({"train": {}})


def test_long_names_that_differ_at_their_end_stay_different() -> None:
    names = [f"siphonophore_calycophoran_rocketship_{age}" for age in ("adult", "young_of_the_year")]
    assert len({plots.class_bars_png({name: {"f1": 0.5, "support": 9}}) for name in names}) == 2


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import sys; import drillcore.retrain.retraining; assert 'matplotlib' not in sys.modules;"
        "from drillcore.evaluation.pictures import plots;"
        "plots.curves_png({'train_loss': [2.0, 1.0]}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
