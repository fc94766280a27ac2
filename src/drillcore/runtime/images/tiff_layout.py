"""How the pixels of a TIFF are stored, and which ways of storing them are read; every other one is refused by name."""

from __future__ import annotations

from dataclasses import dataclass

from drillcore.errors import BadImageError
from drillcore.runtime.images import tiff_directory as tag
from drillcore.runtime.images.tiff_directory import TiffDirectory

WHITE_IS_LOW, BLACK_IS_LOW, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # photometric interpretations
NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
OLD_JPEG, JPEG, CCITT = 6, 7, (2, 3, 4)
PLAIN = {LZW: "tiff_lzw", DEFLATE: "tiff_adobe_deflate", OLD_DEFLATE: "tiff_deflate", PACKBITS: "packbits"} | {
    LZMA: "lzma",
    ZSTD: "zstd",
}  # compressions of bytes, by Pillow's names
PICTURES = (OLD_JPEG, JPEG, *CCITT)  # compressions of pictures
_COMPRESSIONS = {
    32766: "NeXT",
    32771: "CCITT in words",
    32809: "ThunderScan",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34927: "WebP",
    50001: "WebP",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_PHOTOMETRICS = {
    4: "a transparency mask",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_COLOURS = {WHITE_IS_LOW: 1, BLACK_IS_LOW: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
ASSOCIATED, UNASSOCIATED = 1, 2
_MAX_SAMPLES = 16
_MAX_SEGMENT = 2**26  # bytes of a tile: its buffer is made before its bytes are seen


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffLayout:
    """How the pixels of a TIFF are stored.

    Attributes:
        shown: the file's name, for messages.
        order: "<" or ">".
        width: columns as stored, before the turn.
        height: rows as stored.
        bits: of a sample.
        kind: UNSIGNED, SIGNED or FLOAT.
        samples: of a pixel, extra ones counted.
        colours: samples that are colour: 1, 3 or 4.
        alpha: 0 for none, ASSOCIATED or UNASSOCIATED; it follows the colours.
        photometric: what the samples mean.
        compression: of the segments.
        predictor: 1 none, 2 differences, 3 differences of the bytes of floats.
        apart: each sample has a plane of its own.
        reversed_bits: the lowest bit of a byte comes first.
        tiled: segments are tiles, else strips of the whole width.
        segment: (rows, columns) of a segment.
        offsets: where the segments begin.
        lengths: bytes of the segments.
        orientation: 1 to 8, as in EXIF.
        colour_map: of a palette, else empty.
    """

    shown: str
    order: str
    width: int
    height: int
    bits: int
    kind: int
    samples: int
    colours: int
    alpha: int
    photometric: int
    compression: int
    predictor: int
    apart: bool
    reversed_bits: bool
    tiled: bool
    segment: tuple[int, int]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    orientation: int
    colour_map: tuple[int, ...]

    @property
    def wanted(self) -> int:
        """Samples that are read: colours and alpha; what is beyond them says nothing of the picture."""
        return self.colours + bool(self.alpha)

    @property
    def packed(self) -> int:
        """Samples side by side in a segment: those of a pixel, or one where they are apart."""
        return 1 if self.apart else self.samples


def stored_size(directory: TiffDirectory) -> tuple[int, int]:
    """Return (width, height) as stored; 0 where the file does not say."""
    return directory.first(tag.WIDTH, 0), directory.first(tag.HEIGHT, 0)


def read_layout(directory: TiffDirectory, shown: str) -> TiffLayout:
    """Return how the pixels are stored.

    Raises:
        BadImageError: format, with what is not supported; unreadable or truncated.
    """
    width, height = stored_size(directory)
    compression = directory.first(tag.COMPRESSION, NONE)
    if compression not in (NONE, *PLAIN, *PICTURES):
        name = _COMPRESSIONS.get(compression, f"number {compression}")
        raise BadImageError("format", f"{shown}: a TIFF with a compression that is not supported ({name})")
    photometric = YCBCR if compression == OLD_JPEG else directory.first(tag.PHOTOMETRIC, WHITE_IS_LOW)
    if photometric not in _COLOURS:
        name = _PHOTOMETRICS.get(photometric, f"number {photometric}")
        raise BadImageError("format", f"{shown}: a TIFF with colours that are not supported ({name})")
    colours = _COLOURS[photometric]
    samples = directory.first(tag.SAMPLES, colours if compression == OLD_JPEG else 1)
    if samples == 1 and photometric == YCBCR:
        photometric, colours = BLACK_IS_LOW, 1  # brightness alone
    alpha = _alpha(directory, samples, colours, photometric, shown)
    tiled = tag.TILE_OFFSETS in directory.tags
    rows = directory.first(tag.TILE_HEIGHT if tiled else tag.STRIP_ROWS, 0 if tiled else height)
    return TiffLayout(
        shown=shown,
        order=directory.order,
        width=width,
        height=height,
        bits=_equal(directory, tag.BITS, samples, 1, "bits a sample", shown),
        kind=_kind(directory, samples, shown),
        samples=samples,
        colours=colours,
        alpha=alpha,
        photometric=photometric,
        compression=compression,
        predictor=directory.first(tag.PREDICTOR, 1) if compression in PLAIN else 1,
        apart=samples > 1 and directory.first(tag.PLANES, 1) == 2,
        reversed_bits=directory.first(tag.FILL_ORDER, 1) == 2,
        tiled=tiled,
        segment=(rows, directory.first(tag.TILE_WIDTH, 0)) if tiled else (min(rows, height), width),
        offsets=directory.tags.get(tag.TILE_OFFSETS if tiled else tag.STRIP_OFFSETS, ()),
        lengths=directory.tags.get(tag.TILE_BYTES if tiled else tag.STRIP_BYTES, ()),
        orientation=directory.first(tag.ORIENTATION, 1),
        colour_map=directory.tags.get(tag.COLOUR_MAP, ()),
    )


def check_plain(layout: TiffLayout) -> None:
    """Refuse what is not read of pixels stored as plain samples.

    Raises:
        BadImageError: format or unreadable.
    """
    shown = layout.shown
    if layout.photometric == YCBCR:
        raise BadImageError("format", f"{shown}: a TIFF with YCbCr that is not JPEG is not supported")
    if layout.kind == FLOAT:
        if layout.bits not in (16, 32, 64):
            raise BadImageError("format", f"{shown}: a TIFF with {layout.bits}-bit floats is not supported")
        if layout.wanted > 1 or layout.photometric != BLACK_IS_LOW:
            raise BadImageError(
                "format", f"{shown} has floats that are no single band of values; one band with low as black is read"
            )
    elif layout.bits > 16 and layout.bits != 32:
        raise BadImageError("format", f"{shown}: a TIFF with {layout.bits}-bit integers is not supported")
    elif layout.bits < 1 or (layout.kind == SIGNED and layout.bits not in (8, 16, 32)):
        raise BadImageError("format", f"{shown}: a TIFF with {integers(layout)} is not supported")
    elif layout.wanted > 1 and (layout.kind == SIGNED or layout.bits == 32):
        raise BadImageError("format", f"{shown} has colours as {integers(layout)}, which are not supported")
    if layout.photometric == PALETTE and layout.bits > 8:
        raise BadImageError("format", f"{shown}: a TIFF with a palette of {layout.bits} bits is not supported")
    byte_wise = layout.bits in (8, 16, 32, 64)
    if layout.predictor not in (1, 2, 3) or (layout.predictor == 3) > (layout.kind == FLOAT):
        raise BadImageError("format", f"{shown}: a TIFF with predictor {layout.predictor} is not supported here")
    if layout.predictor == 2 and not byte_wise:
        raise BadImageError("format", f"{shown}: a TIFF with differences of {layout.bits} bits is not supported")
    rows, columns = layout.segment
    if rows < 1 or columns < 1:
        raise BadImageError("unreadable", f"{shown} is a damaged TIFF (segments of {columns} x {rows} pixels)")
    pixel = layout.packed * layout.bits
    if layout.tiled and rows * columns * pixel > 8 * max(_MAX_SEGMENT, layout.width * layout.height * pixel // 2):
        raise BadImageError("unreadable", f"{shown} is a damaged TIFF (tiles of {columns} x {rows} pixels)")


def check_picture(layout: TiffLayout) -> None:
    """Refuse what is no picture that is read: JPEG of 8 bits and bilevel fax are. Raises BadImageError."""
    expected = 1 if layout.compression in CCITT else 8
    name = "fax" if layout.compression in CCITT else "JPEG"
    if layout.bits != expected or layout.kind != UNSIGNED:
        raise BadImageError(
            "format", f"{layout.shown}: a TIFF with {layout.bits}-bit {name} compression is not supported"
        )
    if layout.apart or layout.alpha or (layout.samples != layout.colours):
        raise BadImageError(
            "format", f"{layout.shown}: a TIFF with {name} compression and extra or separate samples is not supported"
        )


def integers(layout: TiffLayout) -> str:
    """Name the integers of a layout, for people."""
    return f"{'signed' if layout.kind == SIGNED else 'unsigned'} {layout.bits}-bit integers"


def _equal(directory: TiffDirectory, which: int, samples: int, default: int, name: str, shown: str) -> int:
    values = directory.tags.get(which) or (default,)
    if len({*values[:samples]}) > 1:
        raise BadImageError("format", f"{shown}: a TIFF with samples of different {name} is not supported")
    return values[0]


def _kind(directory: TiffDirectory, samples: int, shown: str) -> int:
    kind = _equal(directory, tag.SAMPLE_FORMAT, samples, UNSIGNED, "kinds", shown)
    if kind in (UNSIGNED, SIGNED, FLOAT):
        return kind
    name = "complex numbers" if kind in (5, 6) else "samples of no named kind"
    raise BadImageError("format", f"{shown}: a TIFF with {name} is not supported")


def _alpha(directory: TiffDirectory, samples: int, colours: int, photometric: int, shown: str) -> int:
    """Return the kind of the sample after the colours: ASSOCIATED, UNASSOCIATED, or 0 where it is no alpha."""
    extra = directory.tags.get(tag.EXTRA_SAMPLES, ())
    beyond = samples - colours
    if not 0 <= beyond <= _MAX_SAMPLES:
        raise BadImageError("format", f"{shown}: a TIFF with {samples} samples a pixel is not supported")
    if not beyond:
        return 0
    if not extra and photometric == RGB and beyond == 1:
        return UNASSOCIATED  # four samples of which nothing is said: so do all writers of RGBA mean it
    first = extra[0] if extra else 0
    if first in (ASSOCIATED, UNASSOCIATED) and photometric != CMYK:
        return first
    if photometric in (RGB, CMYK) and first not in (ASSOCIATED, UNASSOCIATED):
        return 0  # near infrared and the like: the colours are named
    # Which of several bands would be the picture, the file does not say.
    raise BadImageError("format", f"{shown} has {samples} bands; one, or red, green and blue named so, are expected")
