"""Where the tiles of a scene lie, so that their answers put together are those of the whole scene.

A tile answers its core and reads a halo around it. Cores begin at multiples of `align` pixels, and so does what a tile
reads: every layer's cells then lie where they lie on the whole scene. At the scene's own border a tile is cut off, so
the network pads there as it does for the whole; what it pads on inner sides stays within the halo.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis, in pixels of the scene, half-open.

    Attributes:
        start: first pixel of the core.
        stop: end of the core.
        first: first pixel that is read.
        last: end of what is read.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def core(self) -> slice:
        """The core within the scene."""
        return slice(self.start, self.stop)

    @property
    def source(self) -> slice:
        """What is read of the scene."""
        return slice(self.first, self.last)

    @property
    def inner(self) -> slice:
        """The core within what is read."""
        return slice(self.start - self.first, self.stop - self.first)


def tile_spans(side: int, *, tile: int, halo: int, align: int, least: int = 1) -> list[Span]:
    """Return the tiles along an axis of `side` pixels; their cores cover each pixel once.

    Args:
        side: pixels of the scene, 1 or more.
        tile: pixels of a core at most; rounded down to a multiple of `align`, at least one of it.
        halo: pixels around a core that its answers depend on; before a core it is rounded up to a multiple of `align`.
        align: pixels; the network's answers move with the image by multiples of it.
        least: pixels that a tile reads at least, where the scene has them.

    >>> [(span.start, span.stop, span.first, span.last) for span in tile_spans(20, tile=9, halo=3, align=4)]
    [(0, 8, 0, 11), (8, 16, 4, 19), (16, 20, 12, 20)]
    """
    step = max(tile // align, 1) * align
    reach = -(-halo // align) * align
    spans = []
    for start in range(0, side, step):
        stop = min(start + step, side)
        first, last = max(start - reach, 0), min(stop + halo, side)
        if last - first < least:
            last = min(first + least, side)
            first = min(first, max(last - least, 0) // align * align)
        spans.append(Span(start, stop, first, last))
    return spans
