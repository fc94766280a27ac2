"""Images taken out of the landing zone: what is refused before anything goes, what goes, versions without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from drillcore import versions
from drillcore.datasets.checking import validate_manifest
from drillcore.datasets.ingest import check_dataset, current_manifest, is_unchanged, landed_datasets
from drillcore.digests import sha256_file
from drillcore.errors import DataError
from drillcore.json_types import Json
from drillcore.settings import Settings

_SHOWN = 5


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an image is or was in a data set: its path below `data/<dataset>`, and that of its annotation."""

    dataset: str
    path: str
    sha256: str
    target: str = ""
    target_sha256: str = ""


def refuse_unchecked(settings: Settings, records: Sequence[Json]) -> None:
    """Refuse a landing zone that holds what was never looked at: whether the images are in it is not known.

    Args:
        settings: where it is.
        records: of what was begun; a data set that lacks what they name, and no more, is as it should be.

    Raises:
        DataError: a data set has changed since its last check; says how to check it.
    """
    changed = [name for name in landed_datasets(settings) if not _as_checked(settings, name, records)]
    if changed:
        ways = ", ".join(f"drillcore data check {name}" for name in changed)
        raise DataError(
            f"{', '.join(changed)}: the landing zone or data/ has changed since the last check, so that nobody knows "
            f"what is in it; nothing was removed. Run {ways}, then forget"
        )


def refuse_kept(settings: Settings, places: Sequence[Place], objects: Collection[str]) -> None:
    """Refuse to begin where files of the current version would stay that are the images or their annotations.

    Raises:
        DataError: they lie where no list of images names them, or their data set is not in the landing zone.
    """
    landed = landed_datasets(settings)
    going = {f"{name}/{file}" for name in landed for file in landed_files(settings, name, places)}
    kept = [
        entry.path
        for entry in versions.current_tree(settings) or []
        if entry.md5 in objects
        and entry.path not in going
        # What is gone from the landing zone leaves the version with the next check.
        and (entry.path.split("/", 1)[0] not in landed or (settings.landing / entry.path).exists())
    ]
    if kept:
        raise DataError(
            f"{len(kept)} files of the current version are of these images and no list of images says so "
            f"({', '.join(sorted(kept)[:_SHOWN])}); nothing was removed. Take them out of the landing zone and run "
            "drillcore data check, or take their data set out: drillcore data remove NAME; then forget"
        )


def refuse_unfit(settings: Settings, places: Sequence[Place]) -> None:
    """Refuse to begin where a data set would not be fit any more: its last version, with the images, would stay.

    Raises:
        DataError: a data set would be empty, or refused; says why.
    """
    for dataset in sorted({place.dataset for place in places} & set(landed_datasets(settings))):
        manifest, gone = current_manifest(settings, dataset), {place.sha256 for place in places}
        table = manifest.table[~manifest.table["sha256"].isin(gone)]
        if len(table) == len(manifest.table):
            continue
        reason = "no image is left"
        if len(table):
            aside = manifest.quarantine[~manifest.quarantine["sha256"].isin(gone)]
            left = dataclasses.replace(manifest, table=table, quarantine=aside)
            report = validate_manifest(settings, left, manifest, folder=settings.landing / dataset, accept_change=True)
            reason = "" if report.ok else report.reason
        if reason:
            raise DataError(
                f"without these images data set {dataset} is refused ({reason}); nothing was removed. {_way(dataset)}"
            )


def landed_files(settings: Settings, dataset: str, places: Sequence[Place]) -> list[str]:
    """Return the files of a data set in the landing zone that are the images, then their annotations; POSIX paths."""
    folder, own = settings.landing / dataset, [place for place in places if place.dataset == dataset]
    images = {place.path for place in own if _is(folder / place.path, place.sha256)}
    targets = {
        place.target
        for place in own
        # Another image may be there by now, one that was set aside and whose annotation no list names.
        if place.target and (place.path in images or not (folder / place.path).exists())
        if _is(folder / place.target, place.target_sha256)
    }
    return [*sorted(images), *sorted(targets)]


def rest_digest(settings: Settings, dataset: str, places: Sequence[Place]) -> str:
    """Return a digest of names, sizes and times of the files in the landing zone that no place names."""
    gone = {f"{place.dataset}/{path}" for place in places for path in (place.path, place.target)}
    found = versions.stats(settings.landing, dataset)
    return versions.stats_digest({path: stat for path, stat in found.items() if path not in gone})


def forget_landed(settings: Settings, places: Sequence[Place]) -> dict[str, str]:
    """Take images and their annotations out of the landing zone, then make versions without them.

    Returns:
        Data sets whose new version is refused, and why; one stops no other.
    """
    refused = dict[str, str]()
    for dataset in sorted({place.dataset for place in places} & set(landed_datasets(settings))):
        for file in landed_files(settings, dataset, places):
            (settings.landing / dataset / file).unlink(missing_ok=True)
        for memory in (
            settings.state / "probed" / f"{dataset}.parquet",
            settings.state / "thumbnails" / f"{dataset}.npz",
        ):
            memory.unlink(missing_ok=True)
        try:
            # What else has changed was refused before: only what went is accepted.
            report = check_dataset(settings, dataset, accept_change=True).report
            reason = "" if report.ok else report.reason
        except DataError as error:
            reason = str(error)
        if reason:
            refused[dataset] = reason
    return refused


def unfinished_error(refused: dict[str, str], kept: Sequence[str]) -> DataError:
    """Return the error of images that are in the current version still; all else of them is gone."""
    why = "; ".join(f"what is left of data set {name} is refused: {reason}" for name, reason in refused.items())
    stays = f"data.dvc still names {', '.join(kept[:_SHOWN])}" + (" and more" if len(kept) > _SHOWN else "")
    name = next(iter(refused), kept[0].split("/", 1)[0] if kept else "")
    told = "; ".join(text for text in (why, stays if kept else "") if text)
    return DataError(f"not done yet, their other copies are gone: {told}. {_way(name)}")


def _way(dataset: str) -> str:
    return (
        f"Bring more images (drillcore data import --append {dataset} FOLDER, without --append where it is the "
        f"synthetic sample; drillcore data check {dataset}), or take the data set out (drillcore data remove "
        f"{dataset}), then forget again"
    )


def _as_checked(settings: Settings, dataset: str, records: Sequence[Json]) -> bool:
    try:
        if is_unchanged(settings, dataset):
            return True
    except DataError:  # the landing zone was emptied, or shrank: by a call that was killed, or not
        pass
    for record in records:
        rest = record.get("landing", {}).get(dataset)
        places = [Place(**place) for place in record["places"]]
        if rest is not None and rest == rest_digest(settings, dataset, places):
            return not versions.hand_edits(settings, dataset)
    return False


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest
