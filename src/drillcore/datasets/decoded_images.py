"""Images decoded when they are asked for, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from drillcore.arrays import Bytes
from drillcore.digests import sha256_bytes
from drillcore.errors import IntegrityError
from drillcore.runtime.images.decode import decode_bytes
from drillcore.runtime.images.image_files import read_image_bytes
from drillcore.runtime.images.value_range import Range
from drillcore.settings import Settings


class DecodedImages(Sequence[Bytes]):
    """Images of files; a sequence, and a function of an image's number that may go to another machine.

    Args:
        settings: limits.
        paths: of the files.
        channels: 1 or 3.
        bounds: stored numbers that become levels 0 and 255, where they are stated.
        most: pixels of a side that are kept; None: all.
        digests: SHA-256 that the files must have; None: it is not looked at.
    """

    def __init__(
        self,
        settings: Settings,
        paths: list[Path],
        channels: int,
        bounds: Range | None,
        most: int | None = None,
        digests: list[str] | None = None,
    ) -> None:
        self.paths, self.channels, self.how, self.most = paths, channels, settings.decoding(bounds), most
        self.digests = digests

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[Bytes]: ...

    def __getitem__(self, index: int | slice) -> Bytes | list[Bytes]:
        """Return an image uint8 [H, W, C], or several. Raises BadImageError, IntegrityError."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        path = self.paths[index]
        data = read_image_bytes(path)
        if self.digests is not None and sha256_bytes(data) != self.digests[index]:
            raise another_file(path)
        return decode_bytes(data, self.channels, name=path.name, **self.how)[: self.most, : self.most]

    def __call__(self, number: int) -> Bytes:
        """Return the image of a number."""
        return self[number]


def another_file(path: Path) -> IntegrityError:
    """Return the error that a file is not the one that was listed."""
    return IntegrityError(
        f"{path} is not the file that the data set lists: it was changed, or a machine sees another folder by that name"
    )
