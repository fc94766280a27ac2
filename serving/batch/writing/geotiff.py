"""Answers as cloud-optimised GeoTIFF that lies where its scene lies: the only file that imports rasterio.

The coordinate system with the transform, the ground control points or the rational polynomial of the input are passed
on; an input without any gives a plain TIFF. Of an input only its own bytes are read, no file beside it.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import BadImageError, InputError, first_line
from drillcore.runtime.images.containers import plugin_of

TIFF_SUFFIXES = (".tif", ".tiff")
_ORIENTATION = 274
_BLOCK = 512  # pixels of a tile's side inside the file
# One thread, so that equal labels give equal bytes; BIGTIFF only where 4 GB are passed.
_COG = {
    "driver": "COG",
    "COMPRESS": "DEFLATE",
    "BLOCKSIZE": _BLOCK,
    "OVERVIEW_RESAMPLING": "NEAREST",
    "BIGTIFF": "IF_NEEDED",
    "NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where a scene lies.

    Attributes:
        crs: coordinate system of the transform or of the points, or None.
        transform: pixel to coordinates, or None.
        points: ground control points.
        polynomial: rational polynomial coefficients, or None.
    """

    crs: Any
    transform: Any
    points: list[Any]
    polynomial: Any


def require_rasterio() -> None:
    """Raise InputError with what to do where rasterio is not installed."""
    if importlib.util.find_spec("rasterio") is None:
        raise InputError("GeoTIFF needs rasterio, which is not installed: pip install 'drillcore[geo]'")


def read_georeference(path: Path, height: int, width: int) -> Georeference | None:
    """Return where an image lies, or None where its file does not say.

    Args:
        path: the image; only TIFFs are looked into.
        height: rows of the answer.
        width: columns of the answer.

    Raises:
        BadImageError: it was turned while it was decoded, so its georeference does not fit the answer.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    rasterio = _rasterio()
    from rasterio.errors import RasterioError

    try:
        # No neighbours (.aux.xml, .ovr, .tfw): what the digest of the image covers is all that counts.
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"),
            rasterio.open(path, driver="GTiff") as source,
        ):
            points, points_crs = source.gcps
            transform = None if source.transform.is_identity else source.transform
            found = Georeference(source.crs or points_crs, transform, list(points), source.rpcs)
            size = (source.height, source.width)
    except RasterioError as error:
        said = f"{path.name}: its georeference cannot be read ({first_line(error)})"
        raise BadImageError("unreadable", said) from None
    if transform is None and not points and found.polynomial is None:
        return None
    if size != (height, width) or _is_turned(path):
        raise BadImageError("format", f"{path.name} is turned by its orientation tag; its georeference does not fit")
    return found


@dataclass(frozen=True, slots=True)
class ScenePlace:
    """Where the pixels of a scene lie on earth.

    Attributes:
        transformer: of rasterio, from rows and columns to coordinates.
        crs: coordinate system of these.
    """

    transformer: Any
    crs: Any

    def to_degrees(self, corners: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return corners of pixels (x, y), [M,2], as longitude and latitude in WGS 84, float64 [M,2]."""
        from rasterio.warp import transform

        columns, rows = corners.T.tolist()
        x, y = self.transformer.xy(rows, columns, offset="ul")
        return np.stack(transform(self.crs, "EPSG:4326", x, y), axis=1)


def read_place(data: bytes) -> ScenePlace | None:
    """Return where the scene of one of our GeoTIFFs lies; None where the file does not say."""
    rasterio = _rasterio()
    from rasterio.transform import AffineTransformer, GCPTransformer, RPCTransformer

    with rasterio.MemoryFile(data) as memory, memory.open(driver="GTiff") as source:
        points, points_crs = source.gcps
        if source.crs is not None and not source.transform.is_identity:
            return ScenePlace(AffineTransformer(source.transform), source.crs)
        if points and points_crs is not None:
            return ScenePlace(GCPTransformer(points), points_crs)
        if source.rpcs is not None:
            return ScenePlace(RPCTransformer(source.rpcs), "EPSG:4326")
    return None


def encode_label(
    label: npt.NDArray[np.uint8], colours: Sequence[tuple[int, int, int]], place: Georeference | None
) -> bytes:
    """Return class indices uint8 [H,W] as a cloud-optimised GeoTIFF with a palette."""
    palette = {index: (*colour, 255) for index, colour in enumerate(colours)}
    return _encode(label[None], place, palette=palette)


def encode_value(value: npt.NDArray[np.float32], place: Georeference | None) -> bytes:
    """Return values float32 [D,H,W] as a cloud-optimised GeoTIFF of D bands."""
    return _encode(value, place)


def decode_label(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the class indices of `encode_label`. Raises ValueError where they cannot be read."""
    rasterio = _rasterio()
    from rasterio.errors import RasterioError

    try:
        with rasterio.MemoryFile(data) as memory, memory.open(driver="GTiff") as source:
            label: npt.NDArray[np.uint8] = source.read(1)
            return label
    except RasterioError as error:
        raise ValueError(first_line(error)) from None


def _encode(bands: Array, place: Georeference | None, palette: dict[int, Any] | None = None) -> bytes:
    rasterio = _rasterio()
    count, height, width = bands.shape
    profile: dict[str, object] = {**_COG, "count": count, "height": height, "width": width, "dtype": bands.dtype.name}
    if place is not None and place.transform is not None:
        profile |= {"crs": place.crs, "transform": place.transform}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(bands)
            if palette is not None:
                target.write_colormap(1, palette)
            if place is not None and place.points:
                target.gcps = (place.points, place.crs)
            if place is not None and place.polynomial is not None:
                target.rpcs = place.polynomial
        return bytes(memory.read())


@functools.cache
def _rasterio() -> Any:
    """Import it late: a tenth of a second; and once for all threads say nothing of files without a georeference."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    return rasterio


def _is_turned(path: Path) -> bool:
    with path.open("rb") as stream:
        return int(plugin_of("TIFF")(stream).tag_v2.get(_ORIENTATION, 1)) != 1
