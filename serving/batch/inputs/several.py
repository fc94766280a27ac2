"""Inputs of a command line: several files and folders, patterns, and paths that come in on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

from drillcore.errors import InputError
from drillcore.remote import AnyPath, is_url, place
from drillcore.runtime.images.walking import claims_image, walk_images
from drillcore_serving.batch.inputs.input_list import InputList, packed

STDIN = "-"


def gathered(sources: Sequence[str], lines: Iterable[str], *, skip: AnyPath | None = None) -> AnyPath | InputList:
    """Return what is to be scored: one source as it is, or the images of several in the order given.

    Args:
        sources: folders, image files, patterns such as `frames/*.jpg`; or `-` alone: paths come on standard input.
        lines: of standard input.
        skip: a folder that is left out, such as the output.

    Raises:
        InputError: a source is not there, a pattern matches nothing, or a list stands among others.
    """
    if list(sources) == [STDIN]:
        return _listed(line.rstrip("\r\n") for line in lines if line.strip())
    if STDIN in sources:
        raise InputError("- reads paths from standard input and stands alone")
    if len(sources) == 1 and not _is_pattern(sources[0]) and (is_url(sources[0]) or not _is_image(sources[0])):
        return place(sources[0])
    return _listed(path for source in sources for path in _images(source, skip))


def _listed(paths: Iterator[str]) -> InputList:
    found = InputList(place("."), packed(paths))
    if not len(found):
        raise InputError("no images among the inputs")
    return found


def _images(source: str, skip: AnyPath | None) -> Iterator[str]:
    if is_url(source):
        yield source
        return
    # Not Path.glob: a pattern may be absolute.
    matches = sorted(glob.glob(source, recursive=True)) if _is_pattern(source) else [source]  # noqa: PTH207
    if not matches:
        raise InputError(f"nothing matches {source}")
    left_out = None if skip is None else os.path.realpath(str(skip))
    for path in matches:
        if os.path.isdir(path):  # noqa: PTH112 - once per image of a pattern
            if os.path.realpath(path) != left_out:
                yield from (f"{path.rstrip('/')}/{name}" for name in walk_images(path, skip=left_out))
        elif _is_pattern(source) and not claims_image(path):
            continue  # a pattern takes what it matches; what is no image by its name is none
        elif not os.path.exists(path):  # noqa: PTH110
            raise InputError(f"no such input: {path}")
        elif not claims_image(path):
            raise InputError(f"{path} is neither an image nor a folder; a list of paths is given alone")
        else:
            yield path


def _is_pattern(source: str) -> bool:
    return glob.has_magic(source) and not os.path.exists(source)  # noqa: PTH110


def _is_image(source: str) -> bool:
    return claims_image(source) and os.path.isfile(source)  # noqa: PTH113
