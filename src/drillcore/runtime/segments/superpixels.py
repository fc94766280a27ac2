"""Superpixels by OpenCV: small connected regions that cover every pixel once.

SLIC (Achanta et al. 2012), SEEDS (Van den Bergh et al. 2012) and EGS (Felzenszwalb and Huttenlocher 2004). OpenCV's
regions may touch at corners only, and an id may be missing: they are parted into 4-connected ones and counted anew.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError, UnknownNameError

Image = npt.NDArray[np.uint8]
Map = npt.NDArray[np.int32]
METHODS = ("slic", "seeds", "egs")
_LEAST_SIDE = 4  # pixels of a SLIC cell: below, OpenCV's grid has no room to move
_SEEDS_LEVELS, _SEEDS_PRIOR, _SEEDS_BINS = 4, 2, 5


def superpixels(
    image: Image,
    method: str,
    *,
    count: int = 200,
    compactness: float = 10.0,
    iterations: int = 5,
    sigma: float = 1.0,
    k: float = 100.0,
    least: int = 20,
    half: bool = False,
) -> Map:
    """Return the superpixel of each pixel, int32 [H, W], ids from 0 in reading order, each 4-connected.

    Args:
        image: uint8 [H, W, C], C = 1 or 3.
        method: one of METHODS.
        count: about how many, of SLIC and SEEDS; as many as there are pixels and more: each pixel is one.
        compactness: of SLIC, how much places weigh beside colours (CIELAB, 8 bits).
        iterations: of SLIC and SEEDS.
        sigma: of EGS, pixels of its blur.
        k: of EGS, the larger the larger the regions.
        least: of EGS, pixels of a region.
        half: of EGS, whether it sees the image at half its size: a quarter of the time, borders on even pixels.

    Raises:
        UnknownNameError: another method.
        InputError: no pixel, or a count below 1.
    """
    if method not in METHODS:
        raise UnknownNameError("superpixels", method, METHODS)
    if image.ndim != 3 or image.size == 0 or count < 1:
        raise InputError(f"superpixels: an image with pixels and a count of 1 or more are expected, {count} came")
    height, width = image.shape[:2]
    if method != "egs" and count >= height * width:
        return np.arange(height * width, dtype=np.int32).reshape(height, width)
    colour = np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
    if method == "egs" and half and min(height, width) > 1:
        small = _egs(_halved(colour), sigma, k / 4, max(1, least // 4))  # k and least are areas: in pixels
        return connected(small.repeat(2, axis=0).repeat(2, axis=1)[:height, :width])
    if method == "egs":
        return connected(_egs(colour, sigma, k, least))
    side = math.sqrt(height * width / count)
    if side < _LEAST_SIDE or min(height, width) < 2 * _LEAST_SIDE:
        return _grid(height, width, side)
    if method == "slic":
        return connected(_slic(colour, round(side), compactness, iterations))
    return connected(_seeds(colour, count, iterations))


def connected(labels: npt.NDArray[np.integer]) -> Map:
    """Return the 4-connected parts of regions, int32 [H, W], ids from 0 in reading order.

    The map is drawn at twice its size with a wall of one pixel wherever neighbours differ; OpenCV counts what is left.
    """
    height, width = labels.shape
    open_ = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    open_[::2, ::2] = 1
    open_[1::2, ::2] = labels[1:] == labels[:-1]
    open_[::2, 1::2] = labels[:, 1:] == labels[:, :-1]
    _, found = cv2.connectedComponents(open_, connectivity=4, ltype=cv2.CV_32S)
    return renumbered(found[::2, ::2])


def renumbered(labels: npt.NDArray[np.integer]) -> Map:
    """Return ids from 0 without gaps, in the order in which regions first appear, int32 [H, W]; ids are 0 or more."""
    flat = labels.ravel()
    first = np.full(int(flat.max()) + 1, -1)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # of pixels with one id the first is written last
    there = np.flatnonzero(first >= 0)
    number = np.zeros(len(first), np.int32)
    number[there[np.argsort(first[there])]] = np.arange(len(there), dtype=np.int32)
    found: Map = number[labels]
    return found


def _slic(image: Image, side: int, compactness: float, iterations: int) -> Map:
    cv2.setNumThreads(1)  # images are answered side by side
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    engine = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, float(compactness))
    engine.iterate(iterations)
    engine.enforceLabelConnectivity(25)  # percent of a superpixel below which a part joins its neighbour
    found: Map = engine.getLabels()
    return found


def _seeds(image: Image, count: int, iterations: int) -> Map:
    cv2.setNumThreads(1)
    height, width = image.shape[:2]
    size = (width, height, 3, count, _SEEDS_LEVELS, _SEEDS_PRIOR, _SEEDS_BINS, False)
    engine = cv2.ximgproc.createSuperpixelSEEDS(*size)
    engine.iterate(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), iterations)
    found: Map = engine.getLabels()
    return found


def _egs(image: Image, sigma: float, k: float, least: int) -> Map:
    cv2.setNumThreads(1)
    found: Map = cv2.ximgproc.segmentation.createGraphSegmentation(sigma, k, least).processImage(image)
    return found


def _halved(image: Image) -> Image:
    """Return means of 2 x 2 pixels, uint8; an odd last row or column stands alone."""
    height, width = image.shape[:2]
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    found: Image = cv2.resize(even, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    return found


def _grid(height: int, width: int, side: float) -> Map:
    """Return cells of about side x side pixels: what images too small for the methods are cut into."""
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
    return renumbered(down[:, None] * columns + across[None])
