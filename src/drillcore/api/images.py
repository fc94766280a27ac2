"""Labelled images from a folder: copied, listed, split, the bad ones set aside; no version control, no checkout."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.datasets.catalogue import DATASETS, get_layout
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import build_manifest, read_manifest, write_manifest
from drillcore.digests import sha256_json
from drillcore.errors import BadImageError, InputError
from drillcore.files import read_object, write_json
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.datasets.manifest import Manifest

OWN_LAYOUT = "classes"
_SPLITS = ("train", "val", "test")
_LAST = "loaded.json"
_PICTURED = 24  # classes with a picture in a notebook


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images that were loaded: listed, split, the bad ones set aside.

    Attributes:
        name: of the data set.
        classes: names in the order of a model's outputs.
        table: one row per image: path, sha256, width, height, split, label and more.
        set_aside: path, sha256, reason and detail of what cannot be used.
    """

    manifest: Manifest = field(repr=False)
    settings: Settings = field(repr=False)
    # Keeps the folder of the state as long as it is used; None: the folder is the user's.
    _temporary: _Temporary | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.manifest.dataset

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of a model's outputs."""
        return list(self.manifest.classes)

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the rows."""
        return self.manifest.table.copy()

    @property
    def set_aside(self) -> pd.DataFrame:
        """A copy of what was set aside, with reasons."""
        return self.manifest.quarantine.copy()

    def __len__(self) -> int:
        return len(self.manifest.table)

    def __repr__(self) -> str:
        counts = self.manifest.table["split"].value_counts()
        splits = ", ".join(f"{int(counts.get(name, 0)):,} {name}" for name in _SPLITS)
        aside = f"; {len(self.manifest.quarantine):,} set aside" if len(self.manifest.quarantine) else ""
        return f"<Images {self.name}: {len(self):,} of {len(self.classes)} classes: {splits}{aside}>"

    def _repr_html_(self) -> str:
        """Return a row for each class: its images by split, and the first of them."""
        from drillcore.pages.html import Html, element, picture, table
        from drillcore.pages.thumbnails import thumbnail_bytes

        rows: list[tuple[object, ...]] = []
        for name, own in self.manifest.table.groupby("label", sort=True):
            counts = own["split"].value_counts()
            shown = Html("")
            if len(rows) < _PICTURED:
                with contextlib.suppress(BadImageError):  # it is gone, or was changed
                    first = self.manifest.path_of(own["path"].iloc[0])
                    shown = picture(thumbnail_bytes(self.settings, first, self.manifest.channels), str(name))
            rows.append((name, *(int(counts.get(split, 0)) for split in _SPLITS), shown))
        return element("div", element("p", repr(self)), table(("class", *_SPLITS, "the first"), rows))


def load_folder(
    source: str | Path,
    *,
    name: str | None = None,
    layout: str = "classes",
    state: str | Path | None = None,
    seed: int = 0,
    settings: Settings | None = None,
) -> Images:
    """Load a folder or zip of images, one folder per class.

    The images are copied, so that what is trained on stays as it was; broken ones are set aside with their reason.
    They are split once into train, val and test (70, 10, 20 %), unless the folder names its splits. With `state`,
    images that are added later join the splits there are, and features computed before are reused.

    Args:
        source: `<class>/<image>`, or `train|val|test/<class>/<image>`, in a folder or a zip.
        name: of the data set; None: made of the folder's name.
        layout: "classes", or the name of a published classification set such as "plankton".
        state: folder for copies, features and models; None: a temporary one that goes with the last object using it.
        seed: of the split.
        settings: limits and device; None: the defaults, overridden by `DRILLCORE_*` variables.

    Raises:
        InputError: no such source, or a name that is refused.
        LayoutError: the source is laid out otherwise.
        DataError: none of the images can be used.

    Example:
        >>> images = drillcore.load_folder("shells")  # doctest: +SKIP
        >>> images  # doctest: +SKIP
        <Images shells: 240 of 3 classes: 168 train, 24 val, 48 test>
    """
    found = Path(source).expanduser()
    if get_layout(layout).task != "classification":
        raise InputError(f"layout {layout!r} has no class for each image; one that has is expected, such as classes")
    dataset = layout if layout != "classes" else name or _slug(found)
    temporary = _Temporary() if state is None else None
    home = (temporary.path if temporary else Path(state or "")).expanduser().resolve()
    base = replace(settings or Settings.load(home), root=home, state=home, seed=seed)
    manifest, placed = _import(base, dataset, found, layout)
    return Images(manifest, placed, temporary)


class _Temporary:
    """A folder that goes with this object, at the end of the process at the latest."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="drillcore-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _import(settings: Settings, dataset: str, source: Path, layout: str) -> tuple[Manifest, Settings]:
    """Copy the images, list and split them; returns the manifest, and the settings under which its images are."""
    imports = settings.state / "loaded" / dataset
    try:
        imports.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".partial-", dir=imports))
    except OSError as error:
        raise InputError(
            f"the folder {settings.state} cannot be written: {error.strerror}; name another as state"
        ) from None
    try:
        own = layout if layout == OWN_LAYOUT else None
        import_dataset(replace(settings, root=staged, state=staged), dataset, source, layout=own)
        (staged / "landing").rename(staged / "data")
        last = imports / _LAST
        previous = read_manifest(settings, dataset, read_object(last)["digest"]) if last.is_file() else None
        manifest = build_manifest(replace(settings, root=staged, state=staged), dataset, previous)
        content = manifest.table[["path", "sha256"]].values.tolist()
        aside = manifest.quarantine[["path", "sha256"]].values.tolist()
        # Named by its content: a folder that changes while a model learns from it cannot change what it learns.
        placed = imports / sha256_json([content, aside])[:16]
        if not placed.exists():
            staged.rename(placed)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    there = replace(settings, root=placed)
    manifest = replace(manifest, folder=there.data / dataset)
    write_manifest(there, manifest)
    write_json(last, {"digest": manifest.digest})
    return manifest, there


def _slug(source: Path) -> str:
    """Return a data set's name made of a folder's or zip's name."""
    stem = source.stem if source.suffix.lower() == ".zip" else source.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:56] or "images"
    return f"{name}-images" if name in DATASETS else name
