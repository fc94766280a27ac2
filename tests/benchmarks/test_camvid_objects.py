"""CamVid as a data set of several labels: squares, boxes of connected components, held-out sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.camvid_objects import convert, split_frames, squares, things_of
from drillcore.datasets.layouts.camvid import CamvidLayout
from drillcore.datasets.layouts.voc import VocLayout
from drillcore.datasets.synthetic import write_sample

CLASSES = CamvidLayout.classes
CAR, PEDESTRIAN = CLASSES.index("Car"), CLASSES.index("Pedestrian")


def test_squares_are_left_middle_and_right() -> None:
    image = np.arange(360 * 480 * 3, dtype=np.uint64).reshape(360, 480, 3).astype(np.uint8)
    labels = np.arange(480, dtype=np.int64)[None].repeat(360, axis=0).astype(np.uint8)
    found = list(squares(image, labels))
    assert [square.shape for square, _ in found] == [(240, 240, 3)] * 3
    assert [int(part[0, 0]) for _, part in found] == [0, 120, 240]
    assert (found[1][0] == image[60:300, 120:360]).all()


def test_boxes_are_those_of_components() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[10:20, 0:8] = CAR  # 80 pixels: truncated
    labels[50:52, 50:52] = CAR  # 4 pixels, below 0.1 %
    labels[70:73, 70:80] = PEDESTRIAN  # 30 pixels of 10,000 are below 0.4 %
    assert sorted(things_of(labels, CLASSES)) == [
        ("car", (0, 10, 8, 20), False, True),
        ("car", (50, 50, 52, 52), True, False),
        ("pedestrian", (70, 70, 80, 73), True, False),
    ]


def test_sequences_are_held_out() -> None:
    stems = [f"0001TP_{number:03d}" for number in range(8)] + ["0016E5_000", "0006R0_000", "Seq05VD_000"]
    found = split_frames(stems)
    assert [found[stem] for stem in stems] == ["train"] * 2 + ["val"] * 2 + ["test"] * 4 + ["train", "test", "test"]


def test_it_is_in_vocs_layout(tmp_path: Path) -> None:
    write_sample("camvid", tmp_path / "source")
    counts = convert(tmp_path / "source", tmp_path / "target")
    items = VocLayout().items(tmp_path / "target")
    assert counts["squares"] == len(items) == 3 * 36
    assert not any(item.fault for item in items)
    assert {item.split for item in items} == {"train", "val", "test"}
    for name in ("car", "pedestrian"):
        assert sum(name in (item.labels or ()) for item in items) == counts[name]
