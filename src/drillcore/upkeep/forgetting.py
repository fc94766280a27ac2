"""Images taken out of a project: landing zone, `data/`, versions of the data, features, inboxes, pages with pictures.

What remains says that they were there, and no more: digests and paths in the lists of images of earlier versions, and a
record of what was removed and which models have learnt from it. Every step can be done again: what a kill has left is
finished by the next call, for the record is written before anything is removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from drillcore import registry, tracking
from drillcore.datasets.manifest_table import QUARANTINE, ROWS, read_table
from drillcore.digests import sha256_file
from drillcore.errors import DataError, InputError, LeaseHeldError
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.registry import ModelVersion
from drillcore.retrain.records import RunFolder
from drillcore.runtime.images.walking import list_folder
from drillcore.settings import Settings
from drillcore.state.database import open_state
from drillcore.state.leases import current_leases, hold_lease
from drillcore.store.spec import FeatureSpec
from drillcore.store.store import FeatureStore, tables
from drillcore.store.writer import StoreWriter
from drillcore.upkeep.forgetting_landed import (
    Place,
    forget_landed,
    refuse_kept,
    refuse_unchecked,
    refuse_unfit,
    rest_digest,
    unfinished_error,
)
from drillcore.upkeep.forgetting_records import begin_record, begun
from drillcore.versions import outs_md5
from drillcore.versions.forgetting import bring_objects, drop_objects, holds, objects_of

# Made of images by commands, which make them again: none is looked into, all go.
_PAGES = ("datasets", "suspects", "label-next", "similar", "clusters", "explanations", "reports", "rebuild")
_FEWEST = 64  # hexadecimal digits of a digest


@dataclass(frozen=True, slots=True, order=True)
class Learnt:
    """A registered version whose data have the image, in a split: of `train` it was learnt from, of others judged."""

    model: str
    version: int
    sha256: str
    split: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What is to be removed.

    Attributes:
        digests: SHA-256 of the images.
        places: in data sets, now or earlier.
        objects: MD5 of their files in versions of the data.
        features: images in tables of the store.
        tables: of the store that go whole: samples of annotated images, whose keys do not tell which image they are of.
        inbox: files that wait to be scored, or were, and their SHA-256.
        pages: folders of pages that commands have made of images, and of rebuilds that did not end.
        learnt: versions whose data have them.
        unseen: what could not be looked into and stays, in words.
    """

    digests: tuple[str, ...]
    places: tuple[Place, ...]
    objects: tuple[str, ...]
    features: int
    tables: tuple[str, ...]
    inbox: dict[str, str]
    pages: tuple[str, ...]
    learnt: tuple[Learnt, ...]
    unseen: tuple[str, ...]

    @property
    def known(self) -> set[str]:
        """Digests that were found."""
        return {place.sha256 for place in self.places} | set(self.inbox.values())

    def to_dict(self) -> Json:
        """Return plain values for JSON; of names that are no UTF-8 the bytes are escaped."""
        return {**dataclasses.asdict(self), "inbox": [_shown(path) for path in self.inbox]}


def check_digest(text: str) -> str:
    """Return a SHA-256 digest as it was named; raises InputError where it is none."""
    digest = text.lower()
    if len(digest) != _FEWEST or not set(digest) <= set("0123456789abcdef"):
        raise InputError(
            f"there is no file {text[:80]!r}, and it is no SHA-256 digest of 64 hexadecimal digits (sha256sum IMAGE "
            "tells it)"
        )
    return digest


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the data for the length of a `with` block. Raises LeaseHeldError where somebody is at work here."""
    with hold_lease(settings, "data"):
        for name, holder, _ in current_leases(open_state(settings)):
            if name != "data":
                raise LeaseHeldError(f"{name} is held by {holder}; wait until it has ended, then forget")
        yield


def plan_forgetting(settings: Settings, digests: Collection[str]) -> Forgetting:
    """Find where images of SHA-256 digests are. Nothing is changed.

    Raises:
        DataError, RegistryError: a data set has changed since its last check; a list of images, a version of the data,
            the remote or the registry cannot be read.
    """
    wanted = set(digests)
    refuse_unchecked(settings, begun(settings))
    places, splits, asides = _places(settings, wanted)
    found = [
        Learnt(model=version.model, version=version.version, sha256=digest, split=split, run_id=version.run_id)
        for version in _versions(settings)
        for digest, split in splits.get(str(version.metadata.get("data_digest")), {}).items()
    ]
    touched, annotated = places or found, any(place.target for place in places)
    places = _without_shared(settings, places, wanted)
    inbox, closed = _inbox(settings, wanted)
    features, unread = _features(settings, wanted)
    return Forgetting(
        digests=tuple(sorted(wanted)),
        places=tuple(sorted(places)),
        objects=tuple(sorted(_objects(settings, places, wanted))),
        features=sum(int(store.index.index.isin(keys).sum()) for store, keys in features),
        tables=tuple(_sampled(settings) if annotated else ()),
        inbox=inbox,
        pages=tuple(name for name in _PAGES if touched and os.path.lexists(settings.state / name)),
        learnt=tuple(sorted(found)),
        unseen=(
            *closed,
            *unread,
            *(f"the annotation of {place}, which was set aside: no list names it" for place in asides),
        ),
    )


def begin(settings: Settings, plan: Forgetting, outputs: Sequence[Json]) -> Path:
    """Refuse what cannot be done whole, then write the record.

    Raises:
        DataError: copies that no list names, or that a program has loaded, would stay; a data set would be refused.
    """
    _refuse_loaded(settings, set(plan.digests))
    refuse_kept(settings, plan.places, plan.objects)
    refuse_unfit(settings, plan.places)
    landing = {name: rest_digest(settings, name, plan.places) for name in {place.dataset for place in plan.places}}
    return begin_record(settings, plan.digests, plan.to_dict(), outputs, landing)


def forget_copies(settings: Settings, plan: Forgetting) -> None:
    """Remove what a plan names, but for outputs of `score` and the current version of the data.

    Raises:
        DataError: the remote is not there, or DVC fails; call again when that is mended.
        OSError: something cannot be removed.
    """
    for path, digest in plan.inbox.items():
        with contextlib.suppress(FileNotFoundError):
            if sha256_file(Path(path)) == digest:  # else another has come by that name
                Path(path).unlink()
    for name in plan.pages:
        _remove(settings.state / name)
    _forget_runs(settings, plan)
    drop_objects(settings, plan.objects)
    for store, keys in _features(settings, set(plan.digests))[0]:
        # A shard that a kill left beside the index may have them, and would be taken in again.
        if store.unlisted() or store.index.index.isin(keys).any():
            with StoreWriter(store) as writer:
                writer.drop(keys)
    for digest in plan.tables:
        _remove(settings.state / "features" / digest)


def forget_current(settings: Settings, plan: Forgetting) -> None:
    """Make versions of the data without the images, and remove what the version before had of them.

    Raises:
        DataError: what is left of a data set is refused, or DVC fails; all else is done, and the record stays open.
        OSError: a folder cannot be written.
    """
    refused = forget_landed(settings, plan.places)
    kept = drop_objects(settings, plan.objects)
    if refused or kept:
        raise unfinished_error(refused, kept)


def _places(settings: Settings, wanted: set[str]) -> tuple[set[Place], dict[str, dict[str, str]], list[str]]:
    """Return where images are listed, the splits of those in each list (by its digest), and paths of those set aside.

    The last are of data sets with annotations in files: of an image that was set aside no list names it.
    """
    places, splits, asides, annotated = set[Place](), dict[str, dict[str, str]](), set[str](), set[str]()
    for path in sorted(settings.manifests.glob("*/*.parquet")):
        aside = path.name.endswith(".quarantine.parquet")
        table = read_table(path, QUARANTINE if aside else ROWS)[0]
        if not aside and table["target_path"].notna().any():
            annotated.add(path.parent.name)
        rows: pd.DataFrame = table[table["sha256"].isin(wanted)]
        for row in rows.to_dict("records"):
            target = ("", "")
            if aside:
                asides.add(f"{path.parent.name}/{row['path']}")
            elif row["target_path"] is not None:
                target = str(row["target_path"]), str(row["target_sha256"])
            places.add(Place(path.parent.name, str(row["path"]), str(row["sha256"]), *target))
            if not aside:
                splits.setdefault(path.stem, {})[str(row["sha256"])] = str(row["split"])
    known = {f"{place.dataset}/{place.path}" for place in places if place.target}
    return places, splits, sorted(path for path in asides - known if path.split("/", 1)[0] in annotated)


def _without_shared(settings: Settings, places: set[Place], wanted: set[str]) -> set[Place]:
    """Return the places without annotations that are or were another image's too, at the same path."""
    named = {(place.dataset, place.target, place.target_sha256) for place in places if place.target}
    shared = set[tuple[str, str, str]]()
    for dataset in {one[0] for one in named}:
        paths = {target for name, target, _ in named if name == dataset}
        for path in sorted((settings.manifests / dataset).glob("*.parquet")):
            if path.name.endswith(".quarantine.parquet"):
                continue
            table = read_table(path, ROWS)[0]
            rows = table[table["target_path"].isin(paths) & ~table["sha256"].isin(wanted)]
            shared |= {
                (dataset, str(target), str(digest))
                for target, digest in zip(rows["target_path"], rows["target_sha256"], strict=True)
            }
    return {
        dataclasses.replace(place, target="", target_sha256="")
        if (place.dataset, place.target, place.target_sha256) in shared
        else place
        for place in places
    }


def _versions(settings: Settings) -> Iterator[ModelVersion]:
    for name in registry.model_names(settings):
        yield from registry.versions(settings, name)


def _objects(settings: Settings, places: Collection[Place], wanted: set[str]) -> set[str]:
    """Return the objects of the images and of annotations that are of no other image, both judged by their content."""
    images = {f"{place.dataset}/{place.path}" for place in places}
    targets = {f"{place.dataset}/{place.target}" for place in places if place.target}
    if not images:
        return set()
    texts = (version.tags.get("data_dvc", "") for version in _versions(settings))
    named = {md5 for md5 in (outs_md5(text) for text in texts if text) if md5 is not None}
    found = objects_of(settings, images | targets, named)
    of_images = {md5 for md5, paths in found.items() if paths & images}
    of_targets = {md5 for md5, paths in found.items() if paths <= targets}
    bring_objects(settings, of_images | of_targets)
    digests = {place.target_sha256 for place in places if place.target}
    return {md5 for md5 in of_images if holds(settings, md5, wanted)} | {
        md5 for md5 in of_targets if holds(settings, md5, digests)
    }


def _features(settings: Settings, wanted: set[str]) -> tuple[list[tuple[FeatureStore, list[str]]], list[str]]:
    """Return the tables with the keys that rows of the images have there, and in words those that cannot be read."""
    found, unread = list[tuple[FeatureStore, list[str]]](), list[str]()
    for table in tables(settings):
        try:
            spec = FeatureSpec(**{**table.spec, "taps": tuple(table.spec["taps"])})  # type: ignore[arg-type]
            store = FeatureStore.of(settings, spec)
            if store.folder.name == table.digest:
                found.append((store, list(spec.keys(sorted(wanted)))))
                continue
        except (TypeError, KeyError, InputError):
            pass
        unread.append(f"features in .drillcore/features/{table.digest}, whose spec cannot be read: remove that folder")
    return found, unread


def _sampled(settings: Settings) -> list[str]:
    return [table.digest for table in tables(settings) if table.spec.get("sampling")]


def _inbox(settings: Settings, wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the files in inboxes that are the images, with their digests, and in words what cannot be opened."""
    waiting, seen, files = [str(settings.state / "inbox")], set[str](), list[str]()
    closed = list[str]()
    while waiting:
        folder = waiting.pop()
        if (real := os.path.realpath(folder)) in seen or not os.path.lexists(folder):
            continue
        seen.add(real)
        try:
            folders, images = list_folder(folder)
        except OSError as error:
            closed.append(f"{_shown(folder)}, which cannot be opened: {error.strerror}")
            continue
        waiting.extend(entry.path for entry in folders)
        files.extend(entry.path for entry in images)
    found = dict[str, str]()
    with progress("looking into inboxes", len(files)) as advance:
        for path in sorted(files):
            try:
                if (digest := sha256_file(Path(path))) in wanted:
                    found[path] = digest
            except OSError as error:
                closed.append(f"{_shown(path)}, which cannot be opened: {error.strerror}")
            advance(1)
    return found, closed


def _refuse_loaded(settings: Settings, wanted: set[str]) -> None:
    """Refuse copies that `load_folder` made for programs, which may be using them."""

    def stop(error: OSError) -> None:
        raise error

    home = settings.state / "loaded"
    if not home.is_dir():
        return
    for folder, _, files in os.walk(home, onerror=stop):
        for name in files:
            path = Path(folder, name)
            if path.is_file() and sha256_file(path) in wanted:
                held = home.joinpath(*path.relative_to(home).parts[:2])
                raise DataError(
                    f"{_shown(str(path))} is one of them, a copy that load_folder made for a program; nothing was "
                    f"removed. End the program, remove the folder {_shown(str(held))}, then forget"
                )


def _forget_runs(settings: Settings, plan: Forgetting) -> None:
    """Remove the pictures of evaluations that may show an image, here and with the runs."""
    versions = {(one.model, one.version) for one in plan.learnt}
    for version in _versions(settings):
        if (version.model, version.version) not in versions:
            continue
        recipe, data = (str(version.metadata.get(name)) for name in ("recipe_sha256", "data_digest"))
        _remove(RunFolder.of(settings, version.model, recipe, data).path / "pictures")
        tracking.remove_pictures(settings, version.run_id)


def _remove(path: Path) -> None:
    """Remove a folder; of a linked one the link, since what is behind it is not ours. Raises OSError."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path)


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
