"""The data sets of `bench cross-pooling`: whose pictures, how they are split, and what is taken of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError
from drillcore.evaluation.figures.voc_precision import UNJUDGED

if TYPE_CHECKING:
    from drillcore.settings import Settings

SEED = 7
PLANKTON = 5_000  # pictures of the 26,536


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a data set.

    Attributes:
        name: of the data set.
        paths: in order.
        labels: class of each, int64 [N]; or which it shows, int8 [N, K]: 1, 0, or `UNJUDGED` where only difficult boxes
            have it: neither learnt nor judged.
        classes: their names.
        splits: "train" or "test" of each.
        side: pixels a network sees it at.
        components: numbers a local feature is reduced to, where nothing else is said.
    """

    name: str
    paths: list[Path]
    labels: npt.NDArray[Any]
    classes: list[str]
    splits: npt.NDArray[np.str_]
    side: int = 224
    components: int = 500

    @property
    def several(self) -> bool:
        """Whether a picture has several labels: average precision, not accuracy."""
        return self.labels.ndim == 2


def unpacked(settings: Settings, source: Path) -> Path:
    """Return the folder a zip was unpacked to, once. Raises InputError: no such zip."""
    target = settings.state / "bench" / "cross-pooling" / source.stem
    if not (target / "whole").exists():
        if not source.is_file():
            raise InputError(f"no {source}: the data sets are given as --data FOLDER of zips")
        with zipfile.ZipFile(source) as archive:
            archive.extractall(target)
        (target / "whole").touch()
    return target


def flowers(settings: Settings, data: Path) -> Pictures:
    """Return flowers17, as it is split."""
    return _class_folders(settings, data / "flowers17.zip", "flowers17")


def scenes(settings: Settings, data: Path) -> Pictures:
    """Return scene15: 40 training pictures of each class, the first by name, and all 40 of test."""
    return _class_folders(settings, data / "scene15.zip", "scene15", train=40)


def animals(settings: Settings, data: Path) -> Pictures:
    """Return VOC 2012's animals; every second picture by name is test."""
    from drillcore.datasets.layouts.voc import VocLayout

    items = [
        item for item in VocLayout().items(unpacked(settings, data / "voc2012_animals.zip")) if item.labels is not None
    ]
    classes = sorted({label for item in items for label in item.labels or ()})
    labels = np.array([[label in (item.labels or ()) for label in classes] for item in items], np.int8)
    for row, item in enumerate(items):
        for label in item.unjudged:
            if label in classes:
                labels[row, classes.index(label)] = UNJUDGED
    splits = np.where(np.arange(len(items)) % 2, "test", "train")
    return Pictures("voc-animals", [item.source for item in items], labels, classes, splits)


def plankton(settings: Settings, data: Path) -> Pictures:
    """Return 5,000 pictures of plankton, of each class the same share, two of five of each test.

    They are grey and small (half have 49 to 94 pixels on the longer side) and enlarged to 128 x 128.
    """
    folder = unpacked(settings, data / "plankton_train.zip")
    files = sorted(path for path in folder.rglob("*.jpg"))
    names = [path.parent.name for path in files]
    files = [files[number] for number in drawn_evenly(names, PLANKTON)]
    classes = sorted(set(names))
    labels = np.array([classes.index(path.parent.name) for path in files])
    splits = np.full(len(files), "train")
    for label in range(len(classes)):
        rows = np.flatnonzero(labels == label)
        splits[rows[1::5]] = splits[rows[3::5]] = "test"
    return Pictures("plankton", files, labels, classes, splits, side=128, components=100)


def drawn_evenly(names: Sequence[str], count: int) -> npt.NDArray[np.int64]:
    """Return which `count` of the pictures are taken, in order: of each class the same share, drawn with a seed.

    Each class's number is rounded down, those rounded down most get one more; two of a class at least, so that it has
    pictures of both splits.

    Args:
        names: class of each picture.
        count: at least two for each class, at most as many as there are.
    """
    classes, places, sizes = np.unique(np.asarray(names), return_inverse=True, return_counts=True)
    exact = sizes * count / len(names)
    taken = np.maximum(exact.astype(np.int64), np.minimum(2, sizes))
    order = np.argsort(taken - exact, kind="stable")
    taken[order[: max(0, count - taken.sum())]] += 1
    rng = np.random.default_rng(SEED)
    chosen = [rng.permutation(np.flatnonzero(places == place))[: taken[place]] for place in range(len(classes))]
    return np.sort(np.concatenate(chosen))


# By name; the order is that of the columns.
SETS: dict[str, Callable[[Settings, Path], Pictures]] = {
    "flowers17": flowers,
    "scene15": scenes,
    "voc-animals": animals,
    "plankton": plankton,
}


def _class_folders(settings: Settings, source: Path, name: str, train: int | None = None) -> Pictures:
    """Return the pictures of <name>/{train,test}/<class>/, of `train` at most that many of each class."""
    files = sorted(path for path in unpacked(settings, source).rglob("*.jpg"))
    seen: dict[Path, int] = {}
    kept = []
    for path in files:
        seen[path.parent] = seen.get(path.parent, 0) + 1
        if path.parent.parent.name == "test" or train is None or seen[path.parent] <= train:
            kept.append(path)
    classes = sorted({path.parent.name for path in kept})
    labels = np.array([classes.index(path.parent.name) for path in kept])
    return Pictures(name, kept, labels, classes, np.array([path.parent.parent.name for path in kept]))


def drawn(settings: Settings) -> Pictures:
    """Return 24 drawn pictures of two classes, stripes and noise, for the small version."""
    from PIL import Image

    folder = settings.state / "bench" / "cross-pooling" / "drawn"
    paths, labels = [], []
    for number in range(24):
        path = folder / ("stripes", "noise")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        if number % 2 == 0:
            pixels[:, ::4] = 255
        Image.fromarray(pixels).save(path)
        paths.append(path)
        labels.append(number % 2)
    splits = np.array(["test" if number % 8 > 5 else "train" for number in range(24)])
    return Pictures("drawn", paths, np.array(labels), ["stripes", "noise"], splits, side=32, components=20)
