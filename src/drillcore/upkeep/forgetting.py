"""Images taken out of a project: landing zone, `data/`, versions of the data, features, inboxes, pages with pictures.

What remains says that they were there, and no more: digests and paths in the lists of images of earlier versions, and a
record of what was removed and which models have learnt from it. Every step can be done again: what a kill has left is
finished by the next call, for the record is written before anything is removed.
"""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from drillcore import registry, tracking
from drillcore.datasets.checking import refusal
from drillcore.datasets.ingest import check_dataset, landed_datasets, way_on
from drillcore.datasets.manifest_table import QUARANTINE, ROWS, read_table
from drillcore.digests import sha256_file, sha256_json
from drillcore.errors import InputError, LeaseHeldError
from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.registry import ModelVersion
from drillcore.retrain.records import RunFolder
from drillcore.runtime.images.walking import walk_images
from drillcore.settings import Settings
from drillcore.state.database import open_state
from drillcore.state.leases import current_leases, hold_lease
from drillcore.store.spec import FeatureSpec
from drillcore.store.store import FeatureStore, tables
from drillcore.store.writer import StoreWriter
from drillcore.versions import outs_md5
from drillcore.versions.forgetting import bring_objects, drop_objects, holds, objects_of

# Made of images by commands, which make them again: none is looked into, all go.
_PAGES = ("datasets", "suspects", "label-next", "similar", "clusters", "explanations", "reports")
_FEWEST = 64  # hexadecimal digits of a digest


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an image is or was in a data set: its path below `data/<dataset>`, and that of its annotation."""

    dataset: str
    path: str
    sha256: str
    target: str = ""


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
        inbox: files that wait to be scored, or were.
        pages: folders of pages that commands have made of images.
        learnt: versions whose data have them.
    """

    digests: tuple[str, ...]
    places: tuple[Place, ...]
    objects: tuple[str, ...]
    features: int
    tables: tuple[str, ...]
    inbox: tuple[str, ...]
    pages: tuple[str, ...]
    learnt: tuple[Learnt, ...]

    @property
    def known(self) -> set[str]:
        """Digests that were found."""
        return {place.sha256 for place in self.places} | {sha256_file(Path(path)) for path in self.inbox}

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def plan_forgetting(settings: Settings, digests: Collection[str]) -> Forgetting:
    """Find where images of SHA-256 digests are. Nothing is changed.

    Raises:
        InputError: something that is no digest.
        DataError, RegistryError: a list of images, a version of the data or the registry cannot be read.
    """
    for digest in digests:
        if len(digest) != _FEWEST or not set(digest) <= set("0123456789abcdef"):
            raise InputError(
                f"{digest[:80]!r} is no SHA-256 digest of 64 hexadecimal digits (sha256sum IMAGE tells it)"
            )
    wanted = set(digests)
    places, splits = _places(settings, wanted)
    found = [
        Learnt(model=version.model, version=version.version, sha256=digest, split=split, run_id=version.run_id)
        for version in _versions(settings)
        for digest, split in splits.get(str(version.metadata.get("data_digest")), {}).items()
    ]
    touched = places or found
    return Forgetting(
        digests=tuple(sorted(wanted)),
        places=tuple(sorted(places)),
        objects=tuple(sorted(_objects(settings, places, wanted))),
        features=sum(len(keys) for _, keys in _features(settings, wanted)),
        tables=tuple(_sampled(settings) if any(place.target for place in places) else ()),
        inbox=tuple(str(path) for path in _inbox(settings, wanted)),
        pages=tuple(name for name in _PAGES if touched and (settings.state / name).is_dir()),
        learnt=tuple(sorted(found)),
    )


def unfinished(settings: Settings) -> set[str]:
    """Return the digests whose forgetting was begun and not finished."""
    return {digest for record in _begun(settings) for digest in record["digests"]}


def unfinished_outputs(settings: Settings) -> list[Path]:
    """Return the scored outputs, wherever they are, that were to be changed by what was begun and not finished."""
    named = {Path(one["output"]) for record in _begun(settings) for one in record["outputs"]}
    return sorted(path for path in named if path.is_dir())


def recorded(settings: Settings) -> set[str]:
    """Return the digests that were forgotten, or begun to be."""
    return {digest for path in _folder(settings).glob("*.json") for digest in read_object(path)["digests"]}


def refuse_work(settings: Settings) -> None:
    """Raise LeaseHeldError where somebody is at work in this project."""
    held = current_leases(open_state(settings))
    if held:
        name, holder, _ = held[0]
        raise LeaseHeldError(f"{name} is held by {holder}; wait until it has ended, then forget")


def begin_record(settings: Settings, plan: Forgetting, outputs: Sequence[Json]) -> Path:
    """Write what is to be removed, before anything is; one that was begun before stays as it is."""
    name, number = sha256_json(list(plan.digests))[:16], 1
    while (path := _folder(settings) / f"{name}-{number}.json").is_file():
        if read_object(path)["done"] is None:
            return path
        number += 1  # they were forgotten before, and have come back
    write_json(path, {"schema": 1, **plan.to_dict(), "outputs": list(outputs), "begun": _now(), "done": None})
    return path


def end_records(settings: Settings, digests: Collection[str]) -> None:
    """Note that what was begun is done."""
    for path in sorted(_folder(settings).glob("*.json")):
        record = read_object(path)
        if record["done"] is None and set(record["digests"]) <= set(digests):
            write_json(path, {**record, "done": _now()})


def forget_images(settings: Settings, plan: Forgetting) -> None:
    """Remove what a plan names, outputs of `score` left out.

    Raises:
        LeaseHeldError: somebody else is at the data.
        QualityError, DataError: what is left of a data set is refused, or DVC fails; call again when that is mended.
        OSError: a folder cannot be written.
    """
    with hold_lease(settings, "data"):
        for path in plan.inbox:
            Path(path).unlink(missing_ok=True)
        for name in plan.pages:
            shutil.rmtree(settings.state / name, ignore_errors=True)
        _forget_runs(settings, plan)
        _forget_landed(settings, plan.places)
        drop_objects(settings, plan.objects)
        for store, keys in _features(settings, set(plan.digests)):
            with StoreWriter(store) as writer:
                writer.drop(keys)
        for digest in plan.tables:
            shutil.rmtree(settings.state / "features" / digest, ignore_errors=True)


def _places(settings: Settings, wanted: set[str]) -> tuple[set[Place], dict[str, dict[str, str]]]:
    """Return where images are listed, and for each list (by its digest) the splits of those in it."""
    places, splits = set[Place](), dict[str, dict[str, str]]()
    for path in sorted(settings.manifests.glob("*/*.parquet")):
        aside = path.name.endswith(".quarantine.parquet")
        table = read_table(path, QUARANTINE if aside else ROWS)[0]
        rows: pd.DataFrame = table[table["sha256"].isin(wanted)]
        for row in rows.to_dict("records"):
            target = "" if aside or row["target_path"] is None else str(row["target_path"])
            places.add(Place(path.parent.name, str(row["path"]), str(row["sha256"]), target))
            if not aside:
                splits.setdefault(path.stem, {})[str(row["sha256"])] = str(row["split"])
    return places, splits


def _versions(settings: Settings) -> Iterator[ModelVersion]:
    for name in registry.model_names(settings):
        yield from registry.versions(settings, name)


def _objects(settings: Settings, places: Iterable[Place], wanted: set[str]) -> set[str]:
    """Return the objects of the images, judged by their content, and of annotations that are of no other image."""
    images = {f"{place.dataset}/{place.path}" for place in places}
    targets = {f"{place.dataset}/{place.target}" for place in places if place.target}
    if not images:
        return set()
    texts = (version.tags.get("data_dvc", "") for version in _versions(settings))
    named = {md5 for md5 in (outs_md5(text) for text in texts if text) if md5 is not None}
    found = objects_of(settings, images | targets, named)
    of_images = {md5 for md5, paths in found.items() if paths & images}
    bring_objects(settings, of_images)
    of_targets = {md5 for md5, paths in found.items() if paths <= targets}
    return {md5 for md5 in of_images if holds(settings, md5, wanted)} | of_targets


def _features(settings: Settings, wanted: set[str]) -> Iterator[tuple[FeatureStore, list[str]]]:
    """Yield the tables that have rows of the images, with their keys there."""
    for table in tables(settings):
        try:
            spec = FeatureSpec(**{**table.spec, "taps": tuple(table.spec["taps"])})  # type: ignore[arg-type]
        except (TypeError, KeyError, InputError):
            continue
        store = FeatureStore.of(settings, spec)
        keys = [key for key in spec.keys(sorted(wanted)) if key in store.index.index]
        if store.folder.name == table.digest and keys:
            yield store, keys


def _sampled(settings: Settings) -> list[str]:
    return [table.digest for table in tables(settings) if table.spec.get("sampling")]


def _inbox(settings: Settings, wanted: set[str]) -> list[Path]:
    folder = settings.state / "inbox"
    if not folder.is_dir():
        return []
    files = [folder / path for path in sorted(walk_images(folder))]
    with progress("looking into inboxes", len(files)) as advance:
        found = []
        for path in files:
            if sha256_file(path) in wanted:
                found.append(path)
            advance(1)
    return found


def _forget_landed(settings: Settings, places: Sequence[Place]) -> None:
    """Take images and their annotations out of the landing zone, then make versions without them."""
    landed = landed_datasets(settings)
    for dataset in sorted({place.dataset for place in places} & set(landed)):
        folder, own = settings.landing / dataset, [place for place in places if place.dataset == dataset]
        for place in own:
            path = folder / place.path
            if path.is_file() and sha256_file(path) == place.sha256:
                path.unlink()
        for place in own:
            if place.target and not (folder / place.path).exists():
                (folder / place.target).unlink(missing_ok=True)
        for memory in (
            settings.state / "probed" / f"{dataset}.parquet",
            settings.state / "thumbnails" / f"{dataset}.npz",
        ):
            memory.unlink(missing_ok=True)
        report = check_dataset(settings, dataset, accept_change=True).report
        if not report.ok:
            raise refusal(report, way_on(report))


def _forget_runs(settings: Settings, plan: Forgetting) -> None:
    """Remove the pictures of evaluations that may show an image, here and with the runs."""
    versions = {(one.model, one.version) for one in plan.learnt}
    for version in _versions(settings):
        if (version.model, version.version) not in versions:
            continue
        recipe, data = (str(version.metadata.get(name)) for name in ("recipe_sha256", "data_digest"))
        shutil.rmtree(RunFolder.of(settings, version.model, recipe, data).path / "pictures", ignore_errors=True)
        tracking.remove_pictures(settings, version.run_id)


def _begun(settings: Settings) -> list[Json]:
    records = [read_object(path) for path in sorted(_folder(settings).glob("*.json"))]
    return [record for record in records if record["done"] is None]


def _folder(settings: Settings) -> Path:
    return settings.state / "forgotten"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
