"""The files of dense answers, written once each while a batch is running: masks, values and overlays.

A file is named by its image's digest. Where it is there already it stands: an image given twice, or answered before a
kill, has one answer, whichever batch it shared (on a GPU the last bits depend on that).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError, InputError
from drillcore.files import create_bytes, write_bytes
from drillcore.remote import AnyPath
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.dense.kept_files import MASKS, VALUES, overlay_name
from drillcore.runtime.images.decode import decode_mask_bytes
from drillcore.runtime.images.decode_worker import DecodedImage
from drillcore.runtime.images.float_tiff import encode_float_tiff
from drillcore.runtime.images.masks import class_colours, class_pixels, encode_colours, encode_mask
from drillcore.runtime.model.metadata import RGB_UNIT, ModelMetadata
from drillcore.tasks import SEGMENTS, TASKS
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.writing.geotiff import (
    decode_label,
    encode_label,
    encode_value,
    read_georeference,
    require_rasterio,
)
from drillcore_serving.batch.writing.overlays import encode_overlay

FORMATS = ("png", "geotiff")
TILES = ("exact", "blended")
_LOCKS = 64  # files that are written at the same time at most


@dataclass(frozen=True, slots=True)
class DenseOptions:
    """How a dense answer is made and written.

    Attributes:
        overlay: write the image under the colours of its labels too.
        format: "png" (values that are no colours: float32 TIFF) or "geotiff".
        blending: blended tiles, or None: whole images and tiles with halos.
    """

    overlay: bool = False
    format: str = "png"
    blending: Blending | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"unknown format {self.format!r}; known: {', '.join(FORMATS)}")

    def text(self) -> str:
        """Return what makes two runs different, for the plan; empty for the defaults."""
        blended = f"blended {self.blending.size}/{self.blending.stride}" if self.blending else ""
        return " ".join(filter(None, ["overlay" * self.overlay, self.format.removeprefix("png"), blended]))

    def check(self, task: str) -> None:
        """Raise InputError where an option does not fit a model's task, or needs what is not installed."""
        about = TASKS[task]
        if about.dense and not about.named and self.overlay and task != SEGMENTS:
            raise InputError(f"overlays show labels; a model of the task {task!r} has none")
        if task == SEGMENTS and self.format != "png":
            raise InputError("segments are written as PNG of 16 bits")
        if about.dense and not about.blended and self.blending is not None:
            raise InputError(f"a model of the task {task!r} has nothing that tiles could blend")
        if not about.dense and self.text():
            raise InputError(f"{self.text()}: these options are for dense models; this model's task is {task!r}")
        if self.format == "geotiff":
            require_rasterio()


@dataclass(frozen=True, slots=True)
class KeptLabels:
    """What a row says of a label map. `pixels` is int64 [K]; `overlay` and its digest are empty where there is none."""

    mask: str
    mask_sha256: str
    height: int
    width: int
    pixels: npt.NDArray[np.int64]
    overlay: str = ""
    overlay_sha256: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """What was written, below the output."""
        return (self.mask, self.overlay) if self.overlay else (self.mask,)


@dataclass(frozen=True, slots=True)
class KeptValues:
    """What a row says of a map of values. `statistics` is float64 [D,3]: mean, least and greatest of each channel."""

    value: str
    value_sha256: str
    height: int
    width: int
    statistics: npt.NDArray[np.float64]

    @property
    def files(self) -> tuple[str, ...]:
        """What was written, below the output."""
        return (self.value,)


class DenseFiles:
    """Writes the files of one output, from any of several threads.

    They are renamed into place and reach the disk when their shard is committed.

    Args:
        output: the folder.
        metadata: of the model.
        options: format and overlays.
    """

    def __init__(self, output: AnyPath, metadata: ModelMetadata, options: DenseOptions) -> None:
        self.output, self.metadata, self.options = output, metadata, options
        self._colours = class_colours(metadata)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def keep_label(self, item: DecodedImage, answers: dict[str, Array]) -> KeptLabels:
        """Write the mask and perhaps the overlay of an image; see `DenseJob.keep`.

        Raises:
            BadImageError: its georeference cannot be passed on.
            DrillcoreError: the output cannot be written.
        """
        label = answers["label"]
        name = f"{MASKS}/{item.sha256}.{'tif' if self.options.format == 'geotiff' else 'png'}"
        data = label_bytes(label, self.metadata, self.options.format, Path(item.path))
        with writing(self.output), self.lock(item.sha256):
            standing = self.first(name, data, lambda found: self._fits(name, found, label.shape))
            if standing != data:
                label, data = self._read_label(name, standing), standing
            overlay, overlay_sha256 = "", ""
            if self.options.overlay and item.image is not None:
                overlay = overlay_name(item.path, item.sha256)
                picture = encode_overlay(item.image, label, self._colours)
                write_bytes(self.output / overlay, picture, sync=False)
                overlay_sha256 = sha256_bytes(picture)
        pixels = class_pixels(label, len(self.metadata.classes))
        height, width = label.shape
        return KeptLabels(name, sha256_bytes(data), height, width, pixels, overlay, overlay_sha256)

    def keep_value(self, item: DecodedImage, answers: dict[str, Array]) -> KeptValues:
        """Write the values of an image; errors as of `keep_label`."""
        value = answers["value"]
        suffix, data = value_bytes(value, self.metadata, self.options.format, Path(item.path))
        name = f"{VALUES}/{item.sha256}{suffix}"
        with writing(self.output), self.lock(item.sha256):
            data = self.first(name, data, lambda found: True)
        _, height, width = value.shape
        return KeptValues(name, sha256_bytes(data), height, width, value_statistics(value))

    def lock(self, sha256: str) -> threading.Lock:
        """Return the lock of an image's files."""
        return self._locks[int(sha256[:8], 16) % _LOCKS]

    def first(self, name: str, data: bytes, fits: Callable[[bytes], bool]) -> bytes:
        """Return what stands under a name from now on: what is there and fits, else `data`.

        Another process may be at the same image: whoever writes first is right.
        """
        target = self.output / name
        while not create_bytes(target, data):
            with contextlib.suppress(FileNotFoundError):
                found = target.read_bytes()
                if found == data or fits(found):
                    return found
                target.unlink(missing_ok=True)
        return data

    def _fits(self, name: str, found: bytes, shape: tuple[int, ...]) -> bool:
        """Whether a mask that is there can be read and has the right size."""
        try:
            return self._read_label(name, found).shape == shape
        except (BadImageError, ValueError):
            return False

    def _read_label(self, name: str, data: bytes) -> npt.NDArray[np.uint8]:
        if name.endswith(".tif"):
            return decode_label(data)
        return decode_mask_bytes(data, max_pixels=2**62, name=name.rpartition("/")[2]).astype(np.uint8)


def label_bytes(label: npt.NDArray[np.uint8], metadata: ModelMetadata, form: str, image: Path) -> bytes:
    """Return the file of a label map uint8 [H,W] in one of `FORMATS`; `image` is where a georeference is read.

    Raises:
        BadImageError: the georeference cannot be read or passed on.
        InputError: rasterio is needed and not installed.
    """
    colours = class_colours(metadata)
    if form == "geotiff":
        require_rasterio()
        return encode_label(label, colours, read_georeference(image, *label.shape))
    return encode_mask(label, colours)


def value_statistics(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return mean, least and greatest value of each channel of float32 [D,H,W], float64 [D,3]."""
    planes = value.reshape(len(value), -1)
    return np.stack([planes.mean(axis=1, dtype=np.float64), planes.min(axis=1), planes.max(axis=1)], axis=1)


def value_bytes(value: npt.NDArray[np.float32], metadata: ModelMetadata, form: str, image: Path) -> tuple[str, bytes]:
    """Return suffix and file of values float32 [D,H,W]: GeoTIFF, colours as PNG, or float32 TIFF. See `label_bytes`."""
    if form == "geotiff":
        require_rasterio()
        return ".tif", encode_value(value, read_georeference(image, *value.shape[1:]))
    if metadata.unit == RGB_UNIT and len(value) == 3:
        return ".png", encode_colours(value)
    return ".tif", encode_float_tiff(value)
