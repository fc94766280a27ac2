"""From a measured model to a champion: register, gate, promote, and bring the promoted file to where scoring reads."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np

from drillcore import registry, tracking
from drillcore.datasets.manifest import read_manifest
from drillcore.digests import sha256_json
from drillcore.errors import InputError, IntegrityError
from drillcore.json_types import Json, Values
from drillcore.promotion.candidates import Contender
from drillcore.promotion.retreat import version_before
from drillcore.promotion.rules import not_checked
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe, load_recipe
from drillcore.retrain.evaluating import evidence_of
from drillcore.retrain.judging.measuring import Standing, gate_limits
from drillcore.retrain.mlflow_log import description, introduction, log_run, log_verdict, model_card
from drillcore.retrain.opening import one_image_milliseconds, open_for_batches, version_file
from drillcore.retrain.records import BackboneDone, Evaluated, Exported, Figures, Judged, Promoted, Registered
from drillcore.retrain.run import Run
from drillcore.runtime.model import signatures
from drillcore.runtime.model.reference import parse_reference
from drillcore.settings import Settings
from drillcore.versions import data_dvc_text

_FINGERPRINT = "fingerprint"
_ROUNDS = 3  # in which challenger and champion are timed
_IMAGES = "images"  # how many the figures are of


def register_run(run: Run) -> Registered:
    """Log the run to MLflow and register its file as challenger, once; a version that is there is found again."""
    settings, recipe, manifest, fingerprint = run.settings, run.recipe, run.manifest, run.folder.fingerprint
    export, evaluated = run.record(Exported), run.record(Evaluated)
    figures = {**evaluated.figures, _IMAGES: evaluated.images}
    registry.reconcile(settings, recipe.name)  # a number that would be given twice is refused before it is
    for version in registry.versions(settings, recipe.name):
        if version.tags.get(_FINGERPRINT) == fingerprint and version.sha256 == export.sha256:
            _challenge(settings, recipe.name, version.version, figures)
            return Registered(version=version.version, run_id=version.run_id, reused=True, note="registered before")
    tags = {
        _FINGERPRINT: fingerprint,
        "lineage": manifest.lineage,
        "data_digest": manifest.digest,
        "recipe_sha256": recipe.sha256,
        "weights_sha256": run.record(BackboneDone).weights_sha256,
        "git": export.metadata["git"],
        "dirty": str(export.metadata["dirty"]).lower(),
    }
    begun = tracking.find_run(settings, recipe.name, {_FINGERPRINT: fingerprint})
    with tracking.start_run(settings, recipe.name, name=f"retrain {fingerprint[:8]}", tags=tags, resume=begun) as log:
        log_run(log, run)
        if settings.signing_key:
            tags |= {signatures.TAG: signatures.sign(settings, run.model_file, recipe.to_dict())}
        version_number = registry.register(
            settings,
            run.model_file,
            name=recipe.name,
            run_id=log.id,
            sha256=export.sha256,
            metadata=export.metadata,
            tags={**tags, **_version_tags(run, figures)},
            description=description(run),
            model_description=introduction(model_card(settings, recipe.name)),
        )
    _challenge(settings, recipe.name, version_number, figures)
    return Registered(version=version_number, run_id=log.id, note=f"version {version_number}, challenger")


def judge_run(run: Run) -> Judged:
    """Ask the gate about the run's version, against the champion's answers to the same images."""
    registered = run.record(Registered)
    current = registry.aliases(run.settings, run.recipe.name).get(registry.CHAMPION)
    if current == registered.version:
        return Judged(passed=True, standing="the champion", seq=None, verdict=None, note="it is the champion")
    evaluated, export = run.record(Evaluated), run.record(Exported)
    challenger = _standing(
        run.recipe,
        registered.version,
        export.sha256,
        export.metadata,
        _evidence(run.path / run.measuring.evidence_file),
        ms=evaluated.ms,
        mb=evaluated.mb,
    )
    verdict, seq = _ask(run, challenger, run.model_file)
    log_verdict(run.settings, registered.run_id, verdict.as_dict())
    return Judged(
        passed=verdict.passed, standing="challenger", seq=seq, verdict=verdict.as_dict(), note=verdict.summary
    )


def _evidence(path: Path) -> object:
    """Return the answers per image that the evaluation kept. Raises IntegrityError: it is no array of numbers."""
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray) or found.ndim < 1 or found.dtype.kind not in "fi":
            raise ValueError("an array of numbers is expected")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is not what the evaluation wrote ({error}); retrain with --force") from None
    return found


def promote_run(run: Run) -> Promoted:
    """Move the champion to the run's version if the gate passed it, and bring the file to where scoring reads."""
    settings, name = run.settings, run.recipe.name
    version, judged = run.record(Registered).version, run.record(Judged)
    if judged.verdict is None:
        registry.fetch(settings, name)
        reason = f"version {version} is the champion already"
        return Promoted(promoted=False, reason=reason, note="already champion")
    verdict = Verdict.from_dict(judged.verdict)
    if not verdict.passed:
        return Promoted(promoted=False, reason=verdict.summary, note="the gate refuses; the champion stays")
    _require_signed(settings, name, version)
    registry.promote(settings, name, version, why="retrain --promote", verdict=verdict, expected_seq=judged.seq)
    registry.fetch(settings, name)
    return Promoted(promoted=True, reason=f"version {version} is the champion", note=f"version {version} is champion")


def promote_reference(settings: Settings, reference: str, *, why: str = "", force: bool = False) -> Json:
    """Promote MODEL[@ALIAS|@VERSION] (default: challenger) if the gate passes it, judged now on its frozen images.

    What the gate could not check, since nothing is known to be true of the images, is promoted all the same: whoever
    asks for it is the person the gate leaves it to.

    Returns:
        `promoted`, `model`, `version`, `previous`, `reason`, `verdict`.

    Raises:
        UnknownNameError, InputError: no such model, alias or version.
        ConflictError: somebody else moved the champion meanwhile.
    """
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
    allowed = verdict.passed or verdict.left_to_a_person
    if not allowed and not force:
        return {**facts, "promoted": False, "reason": verdict.summary}
    forced = "" if verdict.passed else "not checked by the gate" if allowed else "forced although the gate refused"
    registry.promote(
        settings,
        wanted.name,
        version,
        why="; ".join(text for text in (why, forced) if text),
        verdict=verdict,
        expected_seq=seq,
        force=force or allowed,
    )
    registry.fetch(settings, wanted.name)
    return {**facts, "promoted": True, "reason": verdict.summary}


def rollback_model(settings: Settings, model: str, *, why: str = "") -> dict[str, object]:
    """Put the previous champion back and bring its file. Raises InputError where there is none."""
    load_recipe(settings, model)
    if (target := version_before(registry.history(settings, model, registry.CHAMPION))) is not None:
        _require_signed(settings, model, target)
    move = registry.rollback(settings, model, why=why)
    registry.fetch(settings, model)
    return {"model": model, "version": move.version, "previous": move.previous}


def _require_signed(settings: Settings, model: str, version: int) -> None:
    """Refuse to make a version champion that would not be fetched. Raises SignatureError."""
    if settings.public_keys:
        registry.fetch(settings, f"{model}@{version}")


def _judge_version(settings: Settings, recipe: Recipe, version: int) -> tuple[Verdict, int]:
    """Score a registered version on the frozen evaluation images of its own data and ask the gate."""
    row = registry.get_version(settings, recipe.name, version)
    run = Run(settings, recipe, read_manifest(settings, recipe.dataset.name, row.metadata["data_digest"]))
    path = version_file(settings, recipe.name, version)
    model = open_for_batches(settings, path, row.sha256)
    challenger = _standing(
        recipe,
        version,
        row.sha256,
        row.metadata,
        evidence_of(run, model),
        ms=one_image_milliseconds(path, run.paths(run.evaluated_rows()), settings),
        mb=path.stat().st_size / 1e6,
    )
    return _ask(run, challenger, path)


def _ask(run: Run, challenger: Standing, file: Path) -> tuple[Verdict, int]:
    """Return the gate's verdict and the number of the champion's last move it is about."""
    # Version and number of one row: a champion read apart from its number may have been moved in between, and the
    # promotion would then replace one that was never compared.
    moves = registry.history(run.settings, run.recipe.name, registry.CHAMPION)
    seq = moves[-1].seq if moves else 0
    champion = _champion(run, moves[-1].version) if moves else None
    if not len(challenger.evidence):
        images = list(run.evaluated_rows()["sha256"])
        known = [None if one is None else Contender(images=images, **one.facts()) for one in (challenger, champion)]
        assert known[0] is not None  # noqa: S101 - the challenger
        return not_checked(gate_limits(run.recipe), known[0], known[1]), seq
    if run.recipe.gate.speedup is not None and champion is not None and champion.evidence is not None:
        challenger, champion = _timed(run, challenger, champion, file)
    return run.measuring.judge(run, challenger, champion), seq


def _timed(run: Run, challenger: Standing, champion: Standing, file: Path) -> tuple[Standing, Standing]:
    """Return both with the time of one image, measured in turn: what else the machine does meets both."""
    rival, paths = version_file(run.settings, run.recipe.name, champion.version), run.paths(run.evaluated_rows())
    rounds = [[one_image_milliseconds(one, paths, run.settings) for one in (file, rival)] for _ in range(_ROUNDS)]
    own, other = (min(times) for times in zip(*rounds, strict=True))
    return dataclasses.replace(challenger, ms=own), dataclasses.replace(champion, ms=other)


def _champion(run: Run, version: int) -> Standing:
    """Return the champion with its answers to the challenger's images; none are needed from another lineage."""
    settings, name = run.settings, run.recipe.name
    row = registry.get_version(settings, name, version)
    if row.lineage != run.manifest.lineage:
        return _standing(run.recipe, version, row.sha256, row.metadata, None)
    model = open_for_batches(settings, version_file(settings, name, version), row.sha256)
    return _standing(run.recipe, version, row.sha256, row.metadata, evidence_of(run, model))


def _standing(
    recipe: Recipe,
    version: int,
    sha256: str,
    metadata: Values,
    evidence: object,
    *,
    ms: float | None = None,
    mb: float | None = None,
) -> Standing:
    return Standing(
        version=version,
        lineage=metadata["lineage"],
        classes=metadata["classes"],
        evidence=evidence,
        sha256=sha256,
        # A seed is where a trained backbone starts; it is random weights only where nothing trains them.
        weights=recipe.backbone.weights if recipe.backbone.train is None else "trained",
        ms=ms,
        mb=mb,
    )


def _challenge(settings: Settings, model: str, version: int, figures: Figures) -> None:
    """Make a version the challenger unless it is that, or the champion, already."""
    present = registry.aliases(settings, model)
    if version not in (present.get(registry.CHALLENGER), present.get(registry.CHAMPION)):
        plain = {name: value for name, value in figures.items() if isinstance(value, float) or name == _IMAGES}
        registry.set_alias(settings, model, registry.CHALLENGER, version, why="retrain", figures=plain)


def _version_tags(run: Run, figures: Figures) -> dict[str, str]:
    plain = {name: f"{value:.6f}" for name, value in figures.items() if isinstance(value, float)}
    # Figures may be compared where the images behind them are the same.
    images = sha256_json(sorted(run.evaluated_rows()["sha256"]))
    # The .dvc text is kept with the version: a rebuild needs no commit of it.
    data_dvc = data_dvc_text(run.settings)
    return {**plain, _IMAGES: str(figures[_IMAGES]), f"{_IMAGES}_sha256": images, "data_dvc": data_dvc}
