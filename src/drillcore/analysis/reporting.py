"""What a report on a registered version says, gathered from the registry and from its run's artifacts."""

from __future__ import annotations

import contextlib
import datetime
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore import registry, tracking
from drillcore.analysis.labelling.kept import KeptChoice, kept_choice
from drillcore.analysis.shifts.answers_since import Unlooked, unlooked
from drillcore.analysis.shifts.drift_kept import drift_file, kept_drift
from drillcore.analysis.version_figures import VersionFigure, main_figure, version_figures
from drillcore.datasets.manifest import read_manifest
from drillcore.datasets.pointers import read_pointer
from drillcore.errors import DataError, DrillcoreError
from drillcore.json_types import Json
from drillcore.runtime.model.reference import parse_reference
from drillcore.settings import Settings
from drillcore.tasks import CLASSIFICATION

if TYPE_CHECKING:
    from drillcore.registry import ModelVersion
    from drillcore.state.aliases import AliasMove
    from drillcore.tracking import RunFacts

DRIFT_PICTURE = "drift"
_MAX_PICTURE = 25_000_000  # bytes of a picture: a page must stay one that a browser opens


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report is made of; what an older run did not keep is empty.

    Attributes:
        version: as registered.
        run: what its run logged.
        aliases: that point at it now.
        figures: of the evaluation, `per_class` among them.
        measured: `images`, `ms`, `mb` of the evaluation.
        rival: the same figures of the version it is compared with, measured on the same images; None: there is none.
        rival_text: which one that is; without its figures, why they are not compared, "" where there was no other.
        verdict: the gate's, None where it was never asked.
        parity: of the export.
        data: facts of the data set.
        recipe: its fields.
        card: Markdown.
        pictures: name without suffix -> PNG.
        history: moves of aliases that touch this version, oldest first.
        figure: the main one of the task, by which versions are shown; "": they have none.
        versions: all there are, oldest first.
        drift: what was found last of its answers, None where nobody has looked.
        unlooked: what it has answered since, or at all.
        to_label: the images that were chosen last to be labelled, None where nobody has asked.
        labelled: how many of those the data set has by now.
    """

    version: ModelVersion
    run: RunFacts
    aliases: tuple[str, ...]
    figures: Json
    measured: Json
    rival: Json | None
    rival_text: str
    verdict: Json | None
    parity: dict[str, object]
    data: Json
    recipe: Json
    card: str
    pictures: dict[str, bytes] = field(repr=False)
    history: tuple[AliasMove, ...]
    figure: str = ""
    versions: tuple[VersionFigure, ...] = ()
    drift: Json | None = None
    unlooked: Unlooked = field(default_factory=Unlooked)
    to_label: KeptChoice | None = None
    labelled: int = 0


def gather_report(settings: Settings, reference: str) -> Report:
    """Gather a report on MODEL[@ALIAS|@VERSION]; without either the champion, or the newest version where none is.

    Raises:
        UnknownNameError: no such model, alias or version.
        RegistryError: MLflow cannot be reached, or the run's artifacts are gone.
        DataError: an artifact is malformed.
    """
    version = find_version(settings, reference)
    registry.reconcile(settings, version.model, pending_only=True)
    moves = registry.history(settings, version.model)
    drift = kept_drift(settings, version)
    picture = drift_file(settings, version.model, version.version)
    drawn = _pictures(picture.parent).get(picture.stem) if drift else None
    aliases, versions = registry.aliases(settings, version.model), registry.versions(settings, version.model)
    task = str(version.metadata.get("task", CLASSIFICATION))
    to_label = kept_choice(settings, version.model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = tracking.bring_artifacts(settings, version.run_id, Path(temporary))
        run = tracking.run_facts(settings, version.run_id)
        figures = read_json(folder / "evaluation.json")
        verdict = _verdict(moves, version.version) or read_json(folder / "gate.json") or None
        card = folder / "card.md" if (folder / "card.md").is_file() else settings.models / f"{version.model}.md"
        rival, text = _rival(settings, version, moves, verdict)
        recipe = read_json(folder / "recipe.json")
        figure = main_figure(task, str(recipe.get("gate", {}).get("metric", "")), versions)
        return Report(
            version=version,
            run=run,
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == version.version)),
            figures=figures,
            measured=_measured(read_json(folder / "evaluation-facts.json"), run, figures),
            rival=rival,
            rival_text=text,
            verdict=verdict,
            parity=read_json(folder / "parity.json"),
            data=read_json(folder / "data" / "about.json"),
            recipe=recipe,
            card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
            pictures={**_pictures(folder / "pictures"), **({DRIFT_PICTURE: drawn} if drawn else {})},
            history=tuple(move for move in moves if version.version in (move.version, move.previous)),
            figure=figure,
            versions=version_figures(figure, task, versions, moves, aliases.get(registry.CHAMPION)),
            drift=drift,
            unlooked=_unlooked(settings, version, drift),
            to_label=to_label,
            labelled=_labelled(settings, recipe, to_label),
        )


def _unlooked(settings: Settings, version: ModelVersion, drift: Json | None) -> Unlooked:
    """Return what nobody has compared yet, in the places where `drift` looks and where it has looked last."""
    if drift is None:
        return unlooked(settings, version, [], after=0.0)
    looked = datetime.datetime.fromisoformat(drift["looked"]).timestamp()
    return unlooked(settings, version, [Path(folder) for folder in drift.get("folders", [])], after=looked)


def _labelled(settings: Settings, recipe: Json, chosen: KeptChoice | None) -> int:
    """Return how many of the chosen images the data set has now; 0 where its list cannot be read."""
    with contextlib.suppress(DrillcoreError):
        name = str(recipe.get("dataset", {}).get("name"))
        pointer = read_pointer(settings, name) if chosen else None
        if chosen and pointer:
            known = read_manifest(settings, name, str(pointer["digest"])).table["sha256"]
            return int(known.isin(chosen.digests).sum())
    return 0


def read_json(path: Path) -> Json:
    """Return a JSON object, empty where there is no file. Raises DataError: it is something else."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"the run's {path.name} is not JSON ({error}); restore it from a backup") from None
    if not isinstance(value, dict):
        raise DataError(f"the run's {path.name} holds no JSON object; restore it from a backup")
    return value


def find_version(settings: Settings, reference: str) -> ModelVersion:
    """Return the version of a reference; without alias or version the champion, or the newest where none is."""
    wanted = parse_reference(reference)
    registry.refuse_unknown(settings, wanted)
    has_champion = registry.CHAMPION in registry.aliases(settings, wanted.name)
    if wanted.is_default and not has_champion and (found := registry.versions(settings, wanted.name)):
        return found[0]
    return registry.get_version(settings, wanted.name, registry.resolve_version(settings, wanted))


def _verdict(moves: list[AliasMove], version: int) -> dict[str, object] | None:
    """Return the gate's verdict with which a version became champion last."""
    told = [move.verdict for move in moves if move.version == version and move.verdict]
    return told[-1] if told else None


def _rival(
    settings: Settings, version: ModelVersion, moves: list[AliasMove], verdict: Json | None
) -> tuple[Json | None, str]:
    """Return the figures to compare with, the best source first, and what they are of."""
    if verdict and verdict.get("champion"):
        figures = verdict["champion"]
        costs = _costs(settings, version.model, figures["version"])
        text = f"version {figures['version']}, the champion then, measured on the same images"
        return {**costs, **{name: value for name, value in figures.items() if value is not None}}, text
    champions = [move.version for move in moves if move.alias == "champion"]
    others = [number for number in champions if number != version.version]
    if not others:
        return None, ""
    row = next((one for one in registry.versions(settings, version.model) if one.version == others[-1]), None)
    if row is None:
        return None, ""
    name = f"version {row.version}, {'champion' if champions[-1] == row.version else 'champion before'},"
    if not _same_images(row, version):
        both = f"{version.model}@{version.version} {version.model}@{row.version}"
        return None, f"{name} was measured on other images: drillcore compare {both} asks both about the same"
    with tempfile.TemporaryDirectory() as temporary:
        kept = tracking.bring_artifacts(settings, row.run_id, Path(temporary), ["evaluation.json"])
        return read_json(kept / "evaluation.json") or None, f"{name} measured on the same images"


def _same_images(one: ModelVersion, other: ModelVersion) -> bool:
    """Whether two versions were measured on the same images; those of an older release where all their data is."""
    sets = {row.tags.get("images_sha256") for row in (one, other)}
    return len(sets) == 1 if None not in sets else one.metadata.get("data_digest") == other.metadata.get("data_digest")


def _costs(settings: Settings, model: str, version: int) -> dict[str, float]:
    """Return ms and mb of a version as its own run measured them: the gate asks for the challenger's only."""
    row = next((one for one in registry.versions(settings, model) if one.version == version), None)
    metrics = tracking.run_facts(settings, row.run_id).metrics if row else {}
    named = {"ms": "ms_per_image", "mb": "onnx_mb"}
    return {name: metrics[metric] for name, metric in named.items() if metric in metrics}


def _measured(kept: Json, run: RunFacts, figures: Json) -> Json:
    """Return images, ms and mb, from the run's metrics where an older run kept no more."""
    rows = figures.get("per_class", {}).values()
    # Of pixels a class's support is no number of images.
    images = None if any("iou" in row for row in rows) else sum(row.get("support", 0) for row in rows)
    old = {"images": images, "ms": run.metrics.get("ms_per_image"), "mb": run.metrics.get("onnx_mb")}
    return {**{name: value for name, value in old.items() if value is not None}, **kept}


def _pictures(folder: Path) -> dict[str, bytes]:
    """Return the PNG files of a folder; what is none, or too large for a page, is left out."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.glob("*.png")):
        data = path.read_bytes() if path.stat().st_size <= _MAX_PICTURE else b""
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            found[path.stem] = data
    return found
