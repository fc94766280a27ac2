"""Films in folders of classes, as frames every so many seconds.

    <class>/<film>                          splits are given once, 70 / 10 / 20
    train/<class>/<film>, val/..., test/... the splits as named

Films are MP4, MOV, MKV, WebM, AVI, MPEG, WMV or Ogg. All frames of a film are of one split, since they look alike; only
where a class has fewer than three films its films are cut in time, the first 70 % of the frames to learn from. A film
that cannot be read, or ends early, is told: the first is left out, of the second the frames are taken that are there.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from drillcore.datasets.adapters.base import Choices, Conversion
from drillcore.datasets.base import (
    SPLIT_FOLDERS,
    TEST,
    TRAIN,
    VAL,
    DatasetLayout,
    class_fault,
    class_name,
    file_fault,
    folders,
)
from drillcore.datasets.splits import quotas
from drillcore.errors import InputError, LayoutError
from drillcore.progress import progress
from drillcore.runtime.images.walking import is_hidden

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".ogv")
_SHARES = DatasetLayout.fractions  # as of images in folders of classes
_FEWEST = 3  # films of a class that can be shared out whole
_SECONDS = 3600  # of one film


def from_video(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Take frames of the films of a folder; see the module.

    Raises:
        InputError: no time between frames that can be meant.
        LayoutError: no film in folders of classes, or no film that can be read.
    """
    if not choices.every > 0:
        raise InputError(f"--every is {choices.every:g}; seconds between two frames are expected, above 0")
    films = list(_films(source)) if source.is_dir() else []
    if not films:
        raise LayoutError(
            f"no film in {source}: <class>/<film> or train/<class>/<film> is expected, films ending in "
            f"{', '.join(SUFFIXES)}"
        )
    made = Conversion("classes", folder)
    by_class: dict[tuple[str | None, str], list[Path]] = {}
    for split, label, film in films:
        by_class.setdefault((split, label), []).append(film)
    taken = 0
    with progress("reading films", len(films), "films") as advance:
        for (split, label), those in by_class.items():
            shared = _shared_out(those) if split is None else dict.fromkeys(those, split)
            for film in those:
                taken += _take(made, film, label, shared.get(film), choices)
                advance(1)
    if not taken:
        raise LayoutError(f"none of the {len(films)} films of {source} can be read; the first: {_first(made)}")
    return made


def _films(source: Path) -> Iterator[tuple[str | None, str, Path]]:
    """Yield split, class and path of every film, sorted."""
    for outer in folders(source):
        inner = folders(outer)
        if outer.name in SPLIT_FOLDERS and inner:
            for one in inner:
                yield from ((SPLIT_FOLDERS[outer.name], one.name, film) for film in _in(one))
        else:
            yield from ((None, outer.name, film) for film in _in(outer))


def _in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not is_hidden(path.name))


def _shared_out(films: list[Path]) -> dict[Path, str]:
    """Return the split of each film of a class, in an order that their names draw; nothing of too few."""
    if len(films) < _FEWEST:
        return {}
    drawn = sorted(films, key=lambda film: hashlib.sha256(film.name.encode("utf-8", "surrogateescape")).hexdigest())
    counts = quotas(len(films), _SHARES)
    splits = [split for split, count in counts.items() for _ in range(count)]
    return dict(zip(drawn, splits, strict=True))


def _take(made: Conversion, film: Path, label: str, split: str | None, choices: Choices) -> int:
    """Put a film's frames into its class's folder and return how many; a split of None cuts it in time."""
    shown = f"{film.parent.name}/{film.name}"
    if fault := class_fault(label) or file_fault(film):
        made.leave_out(shown, fault, film)
        return 0
    with tempfile.TemporaryDirectory(dir=made.folder, prefix=".film-") as scratch:
        words = ["-m", "drillcore.datasets.adapters.film_frames", str(film.resolve()), scratch, film.stem]
        command = [sys.executable, *words, str(choices.every), str(choices.max_pixels)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
            why = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["its reader ended"])[-1]
        except subprocess.TimeoutExpired:
            why = f"not read within {_SECONDS // 60} minutes"
        if why:
            made.leave_out(shown, ("unreadable", why), film)
            return 0
        frames = sorted(Path(scratch).iterdir())
        ends = quotas(len(frames), _SHARES)
        for number, frame in enumerate(frames):
            cut = TRAIN if number < ends[TRAIN] else VAL if number < ends[TRAIN] + ends[VAL] else TEST
            place = made.folder / (split or cut) / class_name(label) / frame.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():  # a.mp4 beside a.mov
                place = place.with_name(f"{film.suffix[1:].lower()}-{frame.name}")
            frame.rename(place)
    return len(frames)


def _first(made: Conversion) -> str:
    item = made.odd[0]
    return f"{item.path}: {item.fault[1] if item.fault else ''}"
