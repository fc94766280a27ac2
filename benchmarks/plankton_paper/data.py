"""The images of the plankton paper's benchmark: imported once, split in the paper's proportion, decoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.api.images import load_folder
from drillcore.backbones.base import Backbone
from drillcore.backbones.training.epochs import Labelled
from drillcore.datasets.manifest import Manifest, read_manifest
from drillcore.datasets.synthetic import write_sample
from drillcore.files import read_object, write_json
from drillcore.representations.activations.extraction import extract
from drillcore.representations.feeding import prepare_all
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

SPLITS = ("train", "val", "test")
FIT = ("train", "val")  # section II.B.1: second stages learn from both
Rows = npt.NDArray[np.floating[Any]]
_TOGETHER = 4_096  # features up to which all taps of a network are extracted in one pass and kept in one table


class PaperImages:
    """The labelled images, in the order of the manifest.

    Attributes:
        manifest: rows of train, val and test.
        classes: names.
        labels: class indices int64 [N].
        splits: split of each image, [N].
        digests: SHA-256 of each image's file.
        source: what was imported, for the report.
    """

    def __init__(self, settings: Settings, manifest: Manifest, source: str) -> None:
        self.settings, self.manifest, self.source = settings, manifest, source
        table = manifest.rows()
        self.classes = list(manifest.classes)
        self.labels = manifest.label_indices(table)
        self.splits = table["split"].to_numpy(dtype=str)
        self.digests = list(table["sha256"])
        self._paths = [manifest.path_of(path) for path in table["path"]]
        self._decoded: dict[int, npt.NDArray[np.uint8]] = {}

    def numbers(self, *splits: str) -> npt.NDArray[np.intp]:
        """Return the numbers of the images of some splits, ascending."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def counts(self) -> dict[str, int]:
        """Return the images of each split."""
        return {split: len(self.numbers(split)) for split in SPLITS}

    def load(self, channels: int) -> Callable[[int], npt.NDArray[np.uint8]]:
        """Return what gives the decoded image of a number, uint8 [H, W, channels]; grey is repeated for 3."""

        def decoded(number: int) -> npt.NDArray[np.uint8]:
            if number not in self._decoded:  # 26,536 of them take some 150 MB
                path = self._paths[number]
                self._decoded[number] = decode_file(path, 1, max_pixels=self.settings.max_pixels)
            return np.repeat(self._decoded[number], channels, axis=2)

        return decoded

    def labelled(self, backbone: Backbone, split: str) -> Labelled:
        """Return the prepared images of a split for training or an evaluation."""
        import torch

        numbers = self.numbers(split)
        load = self.load(backbone.channels)
        workers = self.settings.decode_workers
        inputs = prepare_all(backbone, lambda place: load(int(numbers[place])), len(numbers), workers=workers)
        return Labelled(torch.from_numpy(inputs), torch.from_numpy(self.labels[numbers]))

    def rows(self, backbone: Backbone, tap: str, numbers: npt.NDArray[np.intp]) -> Rows:
        """Return the activations of a tap, float16 [n, D]: from the feature store, where all images are put at once."""
        every = list(backbone.taps)
        taps = every if backbone.flat_width(every) <= _TOGETHER else [tap]
        table = extract(backbone, taps, self.digests, self.load(backbone.channels), self.settings)
        first = backbone.flat_width(taps[: taps.index(tap)]) if taps[0] != tap else 0
        return table.select(numbers)[:, first : first + backbone.flat_width([tap])]


def open_images(settings: Settings, folder: Path, source: Path | None) -> PaperImages:
    """Import a source once, and find it again later.

    Args:
        settings: limits, threads, and the state folder with the feature store.
        folder: of the benchmark.
        source: zip or folder in the competition's layout; None: the bundled sample.

    Raises:
        InputError: no such source.
        LayoutError: it is laid out otherwise.
    """
    kept = folder / "data" / "imported.json"
    name = "the bundled sample" if source is None else source.name
    known = _fingerprint(source)
    home = folder / "data"
    if kept.is_file() and (found := read_object(kept))["source"] == known:
        placed = replace(settings, root=Path(found["root"]), state=home)
        return PaperImages(settings, read_manifest(placed, "plankton", found["digest"]), name)
    if source is None:
        source = home / "sample"
        if not source.is_dir():
            write_sample("plankton", source)
    images = load_folder(source, layout="plankton", state=home, settings=settings)
    root = str(images.settings.root)
    write_json(kept, {"source": known, "root": root, "digest": images.manifest.digest})
    return PaperImages(settings, images.manifest, name)


def _fingerprint(source: Path | None) -> list[Any]:
    if source is None or not source.exists():
        return [None if source is None else str(source)]
    status = source.stat()
    return [str(source.resolve()), status.st_size, status.st_mtime_ns]
