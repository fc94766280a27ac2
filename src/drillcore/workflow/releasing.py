"""From a measured model to a champion: register, gate, promote, and bring the promoted file to where scoring reads."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from drillcore.datasets.manifest import Manifest, read_manifest
from drillcore.errors import InputError, IntegrityError, StateError
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe, load_recipe
from drillcore.runtime.reference import parse_reference
from drillcore.settings import Settings
from drillcore.workflow.opening import MODEL_FILE, one_image_milliseconds, open_for_batches, version_file
from drillcore.workflow.records import Record, RunFolder
from drillcore.workflow.steps import Standing, steps

_FINGERPRINT = "fingerprint"


def register_run(
    settings: Settings, recipe: Recipe, manifest: Manifest, run: RunFolder, done: dict[str, Record]
) -> Record:
    """Log the run to MLflow and register its file as challenger, once; a version that is there is found again."""
    from drillcore import registry, tracking
    from drillcore.workflow.logging import log_run

    export = done["export"]
    registry.reconcile(settings, recipe.name)  # a number that would be given twice is refused before it is
    for version in registry.versions(settings, recipe.name):
        if version.tags.get(_FINGERPRINT) == run.fingerprint and version.sha256 == export["sha256"]:
            _challenge(settings, recipe.name, version.version, done["evaluate"]["figures"])
            return {"version": version.version, "run_id": version.run_id, "reused": True, "note": "registered before"}
    tags = {
        _FINGERPRINT: run.fingerprint,
        "lineage": manifest.lineage,
        "data_digest": manifest.digest,
        "recipe_sha256": recipe.sha256,
        "weights_sha256": done["backbone"]["weights_sha256"],
        "git": export["metadata"]["git"],
        "dirty": str(export["metadata"]["dirty"]).lower(),
    }
    begun = tracking.find_run(settings, recipe.name, {_FINGERPRINT: run.fingerprint})
    with tracking.start_run(
        settings, recipe.name, name=f"retrain {run.fingerprint[:8]}", tags=tags, resume=begun
    ) as log:
        log_run(log, settings, recipe, manifest, run, done)
        version_number = registry.register(
            settings,
            run.path / MODEL_FILE,
            name=recipe.name,
            run_id=log.id,
            sha256=export["sha256"],
            metadata=export["metadata"],
            tags={**tags, **_version_tags(settings, done["evaluate"]["figures"])},
        )
    _challenge(settings, recipe.name, version_number, done["evaluate"]["figures"])
    return {
        "version": version_number,
        "run_id": log.id,
        "reused": False,
        "note": f"version {version_number}, challenger",
    }


def judge(settings: Settings, recipe: Recipe, manifest: Manifest, run: RunFolder, done: dict[str, Record]) -> Record:
    """Ask the gate about the run's version, against the champion's answers to the same images."""
    from drillcore import registry
    from drillcore.workflow.logging import log_verdict

    version = done["register"]["version"]
    current = registry.aliases(settings, recipe.name).get(registry.CHAMPION)
    if current == version:
        text = "it is the champion"
        return {"passed": True, "standing": "the champion", "seq": None, "verdict": None, "note": text}
    evaluated = done["evaluate"]
    challenger = _standing(
        recipe,
        version,
        done["export"],
        _evidence(run.path / steps(recipe).EVIDENCE_FILE),
        ms=evaluated["ms"],
        mb=evaluated["mb"],
    )
    verdict, seq = _ask(settings, recipe, manifest, challenger)
    log_verdict(settings, done["register"]["run_id"], verdict.as_dict())
    return {
        "passed": verdict.passed,
        "standing": "challenger",
        "seq": seq,
        "verdict": verdict.as_dict(),
        "note": verdict.summary,
    }


def _evidence(path: Path) -> Any:
    """Return the answers per image that the evaluation kept. Raises IntegrityError: it is no array of numbers."""
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray) or found.ndim < 1 or found.dtype.kind not in "fi":
            raise ValueError("an array of numbers is expected")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is not what the evaluation wrote ({error}); retrain with --force") from None
    return found


def promote_run(settings: Settings, recipe: Recipe, done: dict[str, Record]) -> Record:
    """Move the champion to the run's version if the gate passed it, and bring the file to where scoring reads."""
    from drillcore import registry

    version, judged = done["register"]["version"], done["gate"]
    if judged["verdict"] is None:
        registry.fetch(settings, recipe.name)
        return {"promoted": False, "reason": f"version {version} is the champion already", "note": "already champion"}
    verdict = Verdict.from_dict(judged["verdict"])
    if not verdict.passed:
        return {"promoted": False, "reason": verdict.summary, "note": "the gate refuses; the champion stays"}
    registry.promote(
        settings, recipe.name, version, why="retrain --promote", verdict=verdict, expected_seq=judged["seq"]
    )
    registry.fetch(settings, recipe.name)
    return {"promoted": True, "reason": f"version {version} is the champion", "note": f"version {version} is champion"}


def promote_reference(settings: Settings, reference: str, *, why: str = "", force: bool = False) -> dict[str, Any]:
    """Promote MODEL[@ALIAS|@VERSION] (default: challenger) if the gate passes it, judged now on its frozen images.

    Returns:
        `promoted`, `model`, `version`, `previous`, `reason`, `verdict`.

    Raises:
        UnknownNameError, InputError: no such model, alias or version.
        ConflictError: somebody else moved the champion meanwhile.
    """
    from drillcore import registry

    wanted = parse_reference(reference)
    recipe = load_recipe(settings, wanted.name)
    if wanted.alias is None and wanted.version is None:
        wanted = dataclasses.replace(wanted, alias=registry.CHALLENGER)
    registry.refuse_unknown(settings, wanted)
    registry.reconcile(settings, wanted.name)
    version = registry.resolve_version(settings, wanted)
    current = registry.aliases(settings, wanted.name).get(registry.CHAMPION)
    if current == version:
        raise InputError(f"{wanted.name} version {version} is the champion already")
    verdict, seq = _judge_version(settings, recipe, version)
    facts = {"model": wanted.name, "version": version, "previous": current, "verdict": verdict.as_dict()}
    if not verdict.passed and not force:
        return {**facts, "promoted": False, "reason": verdict.summary}
    forced = "" if verdict.passed else "forced although the gate refused"
    registry.promote(
        settings,
        wanted.name,
        version,
        why="; ".join(text for text in (why, forced) if text),
        verdict=verdict,
        expected_seq=seq,
        force=force,
    )
    registry.fetch(settings, wanted.name)
    return {**facts, "promoted": True, "reason": verdict.summary}


def rollback_model(settings: Settings, model: str, *, why: str = "") -> dict[str, Any]:
    """Put the previous champion back and bring its file. Raises InputError where there is none."""
    from drillcore import registry

    load_recipe(settings, model)
    move = registry.rollback(settings, model, why=why)
    registry.fetch(settings, model)
    return {"model": model, "version": move.version, "previous": move.previous}


def model_history(settings: Settings, model: str) -> list[dict[str, Any]]:
    """Return every move of a model's aliases as plain values, each alias's in their order.

    A move without figures of its own has those that another move of the same file holds.

    Raises:
        StateError: MLflow has aliases of which the history knows nothing.
    """
    from drillcore import registry

    load_recipe(settings, model)
    registry.reconcile(settings, model, pending_only=True)
    moves = registry.history(settings, model)
    if not moves and (known := registry.mlflow_aliases(settings, model)):
        listed = ", ".join(f"{alias} = version {version}" for alias, version in sorted(known.items()))
        raise StateError(
            f"the history of {model} is lost: MLflow has {listed}; restore the state database from a backup "
            "(drillcore doctor says more)"
        )
    kept = {(move.version, move.sha256): move.figures for move in moves if move.figures}
    return [
        {**dataclasses.asdict(move), "figures": move.figures or kept.get((move.version, move.sha256), {})}
        for move in moves
    ]


def _judge_version(settings: Settings, recipe: Recipe, version: int) -> tuple[Verdict, int]:
    """Score a registered version on the frozen evaluation images of its own data and ask the gate."""
    from drillcore import registry

    row = registry.get_version(settings, recipe.name, version)
    manifest = read_manifest(settings, recipe.dataset.name, row.metadata["data_digest"])
    path = version_file(settings, recipe.name, version)
    model = open_for_batches(settings, path, row.sha256)
    images = [manifest.path_of(name) for name in manifest.rows(recipe.evaluate.split)["path"]]
    challenger = _standing(
        recipe,
        version,
        {"sha256": row.sha256, "metadata": row.metadata},
        steps(recipe).evidence(settings, recipe, model, manifest),
        ms=one_image_milliseconds(path, images, settings),
        mb=path.stat().st_size / 1e6,
    )
    return _ask(settings, recipe, manifest, challenger)


def _ask(settings: Settings, recipe: Recipe, manifest: Manifest, challenger: Standing) -> tuple[Verdict, int]:
    """Return the gate's verdict and the number of the champion's last move it is about."""
    from drillcore import registry

    # Version and number of one row: a champion read apart from its number may have been moved in between, and the
    # promotion would then replace one that was never compared.
    moves = registry.history(settings, recipe.name, registry.CHAMPION)
    seq = moves[-1].seq if moves else 0
    champion = _champion(settings, recipe, manifest, moves[-1].version) if moves else None
    return steps(recipe).judge(recipe, manifest, challenger, champion), seq


def _champion(settings: Settings, recipe: Recipe, manifest: Manifest, version: int) -> Standing:
    """Return the champion with its answers to the challenger's images; none are needed from another lineage."""
    from drillcore import registry

    row = registry.get_version(settings, recipe.name, version)
    facts = {"sha256": row.sha256, "metadata": row.metadata}
    if row.lineage != manifest.lineage:
        return _standing(recipe, version, facts, None)
    model = open_for_batches(settings, version_file(settings, recipe.name, version), row.sha256)
    return _standing(recipe, version, facts, steps(recipe).evidence(settings, recipe, model, manifest))


def _standing(
    recipe: Recipe, version: int, facts: Record, evidence: Any, *, ms: float | None = None, mb: float | None = None
) -> Standing:
    return Standing(
        version=version,
        lineage=facts["metadata"]["lineage"],
        classes=facts["metadata"]["classes"],
        evidence=evidence,
        sha256=facts["sha256"],
        # A seed is where a trained backbone starts; it is random weights only where nothing trains them.
        weights=recipe.backbone.weights if recipe.backbone.train is None else "trained",
        ms=ms,
        mb=mb,
    )


def _challenge(settings: Settings, model: str, version: int, figures: dict[str, Any]) -> None:
    """Make a version the challenger unless it is that, or the champion, already."""
    from drillcore import registry

    present = registry.aliases(settings, model)
    if version not in (present.get(registry.CHALLENGER), present.get(registry.CHAMPION)):
        plain = {name: value for name, value in figures.items() if isinstance(value, float)}
        registry.set_alias(settings, model, registry.CHALLENGER, version, why="retrain", figures=plain)


def _version_tags(settings: Settings, figures: dict[str, Any]) -> dict[str, str]:
    from drillcore.versions import data_dvc_text

    plain = {name: f"{value:.6f}" for name, value in figures.items() if isinstance(value, float)}
    # The .dvc text is kept with the version: a rebuild needs no commit of it.
    return {**plain, "data_dvc": data_dvc_text(settings)}
