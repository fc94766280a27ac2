"""Records of images that were forgotten: what was to be removed, written before anything is, and whether it is done."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from drillcore.digests import sha256_json
from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.settings import Settings


def unfinished(settings: Settings) -> set[str]:
    """Return the digests whose forgetting was begun and not finished."""
    return {digest for record in begun(settings) for digest in record["digests"]}


def unfinished_outputs(settings: Settings) -> list[Path]:
    """Return the scored outputs, wherever they are, that were to be changed by what was begun and not finished."""
    named = {Path(one["output"]) for record in begun(settings) for one in record["outputs"]}
    return sorted(path for path in named if path.is_dir())


def recorded(settings: Settings) -> set[str]:
    """Return the digests that were forgotten, or begun to be."""
    return {digest for path in _folder(settings).glob("*.json") for digest in read_object(path)["digests"]}


def begun(settings: Settings) -> list[Json]:
    """Return the records of what was begun and not finished."""
    records = [read_object(path) for path in sorted(_folder(settings).glob("*.json"))]
    return [record for record in records if record["done"] is None]


def begin_record(
    settings: Settings, digests: Sequence[str], plan: Json, outputs: Sequence[Json], landing: Mapping[str, str]
) -> Path:
    """Write what is to be removed, before anything is; one that was begun before is given the outputs it lacks.

    Args:
        settings: where records are.
        digests: SHA-256 of the images, sorted.
        plan: what is to be removed.
        outputs: of `score` that are to be changed.
        landing: for each data set a digest of the files in the landing zone that stay.
    """
    name, number = sha256_json(list(digests))[:16], 1
    while (path := _folder(settings) / f"{name}-{number}.json").is_file():
        record = read_object(path)
        if record["done"] is None:
            known = {one["output"] for one in record["outputs"]}
            if more := [one for one in outputs if one["output"] not in known]:
                write_json(path, {**record, "outputs": [*record["outputs"], *more]})
            return path
        number += 1  # they were forgotten before, and have come back
    value = {**plan, "outputs": list(outputs), "landing": dict(landing), "begun": _now(), "done": None}
    write_json(path, {"schema": 1, **value})
    return path


def end_records(settings: Settings, digests: Collection[str]) -> None:
    """Note that what was begun is done."""
    for path in sorted(_folder(settings).glob("*.json")):
        record = read_object(path)
        if record["done"] is None and set(record["digests"]) <= set(digests):
            write_json(path, {**record, "done": _now()})


def _folder(settings: Settings) -> Path:
    return settings.state / "forgotten"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
