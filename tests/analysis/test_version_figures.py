"""The versions of a model as its report shows them: their figure, by their images, and what the gate compared."""

from __future__ import annotations

from typing import Any

import pytest

from drillcore.analysis.version_figures import accuracy_interval, main_figure, version_figures
from drillcore.errors import InputError
from drillcore.evaluation.pictures.versions_picture import VersionMark, versions_png
from drillcore.registry import ModelVersion
from drillcore.state.aliases import AliasMove


def version(number: int, images: str = "aaaaaaaa", **tags: str) -> ModelVersion:
    kept = {"images_sha256": images, "images": "100", **tags}
    return ModelVersion("m", number, "run", "0" * 64, {"lineage": "import-1"}, kept, number * 86_400_000)


def move(seq: int, number: int, verdict: Any = None) -> AliasMove:
    when = f"2026-01-0{seq}T00:00:00+00:00"
    return AliasMove("m", "champion", seq, number, None, "promote", "me", when, "", {}, verdict, "done")


@pytest.mark.parametrize(
    ("task", "metric", "tags", "expected"),
    [
        ("classification", "macro_f1", {"accuracy": "0.9", "macro_f1": "0.8"}, "accuracy"),
        ("multilabel", "mean_average_precision_11", {"mean_average_precision_11": "0.5"}, "mean_average_precision_11"),
        ("dense_labels", "mean_iou", {"class_average": "0.7", "mean_iou": "0.5", "accuracy": "0.9"}, "mean_iou"),
        ("dense_labels", "ship_iou", {"class_average": "0.7"}, "class_average"),
        ("dense_regression", "mean_squared_error", {"mean_squared_error": "0.01"}, "mean_squared_error"),
        ("segments", "covering", {}, ""),
    ],
)
def test_the_main_figure_of_a_task(task: str, metric: str, tags: dict[str, str], expected: str) -> None:
    assert main_figure(task, metric, [version(1), version(2, **tags)]) == expected


def test_versions_with_their_standing_and_rival() -> None:
    rows = [version(3, "bbbbbbbb", accuracy="0.8"), version(1, accuracy="0.9"), version(2)]
    told = {"champion": {"version": 1, "accuracy": 0.75}}
    found = version_figures("accuracy", "classification", rows, [move(1, 1), move(2, 3, told)], 3)
    assert [one.version for one in found] == [1, 2, 3]
    assert [one.image_set for one in found] == ["aaaaaa", "aaaaaa", "bbbbbb"]
    assert [len(one.promoted) for one in found] == [1, 0, 1]
    assert [one.champion for one in found] == [False, False, True]
    assert [one.rival for one in found] == [None, None, (1, 0.75)]
    assert (found[1].value, found[1].interval) == (None, None)
    assert found[0].interval == accuracy_interval(0.9, 100)
    [pixels] = version_figures("accuracy", "dense_labels", [version(1, accuracy="0.9")], [], None)
    assert pixels.interval is None  # of pixels, which are not drawn each by itself


def test_intervals_by_hand() -> None:
    assert accuracy_interval(1.0, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    assert accuracy_interval(0.0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))


@pytest.mark.parametrize("count", [1, 4, 50])
def test_the_picture_is_drawn_of_few_and_many(count: int) -> None:
    marks = [
        VersionMark(
            name=f"v{n}", day="01 Jan 26", value=0.5 + n / 200, interval=(0.4, 0.9) if n % 2 else None,
            images=f"set {n // 3}", promoted=n % 3 == 0, champion=n == 3, rival=("v1", 0.5) if n % 4 == 3 else None,
        )
        for n in range(count)
    ]  # fmt: skip
    png = versions_png(marks, "Accuracy", title="t")
    assert png.startswith(b"\x89PNG")
    assert png == versions_png(marks, "Accuracy", title="t")
    with pytest.raises(InputError, match="nothing to draw"):
        versions_png([], "Accuracy")
