"""What the registry and the history hold, as rows for a table; neither MLflow nor pandas is imported."""

from __future__ import annotations

import dataclasses

from drillcore import registry
from drillcore.errors import IntegrityError, StateError, UnknownNameError
from drillcore.json_types import Json
from drillcore.recipes import known_models
from drillcore.runtime.model.reference import parse_reference
from drillcore.settings import Settings

FIGURES = (
    "accuracy",
    "macro_f1",
    "log_loss",
    "mean_average_precision",
    "class_average",
    "mean_iou",
    "ship_iou",
    "mean_squared_error",
    "covering",
)


def digits(images: int | None) -> int:
    """Return how many decimals of a share that many images allow, from 2 to 4; unknown: 4.

    Example:
        >>> [digits(images) for images in (40, 800, 20_000, None)]
        [2, 3, 4, 4]
    """
    return 4 if images is None else min(4, max(2, len(str(max(images, 1) - 1))))


def list_models(settings: Settings, model: str | None = None) -> list[dict[str, object]]:
    """Return one row per version, newest first; without `model` the newest and the aliased version of each model.

    A recipe without a version has a row with version None.

    Raises:
        UnknownNameError: neither a recipe nor a registered model.
        RegistryError: MLflow cannot be reached.
    """
    if model is not None:
        registry.refuse_unknown(settings, parse_reference(model))
    registered = registry.model_names(settings)
    known = sorted({*registered, *known_models(settings)})
    if model is not None and model not in known:
        raise UnknownNameError("model", model, known)
    rows: list[Json] = []
    for name in [model] if model else known:
        none: Json = {"model": name, "version": None, "images": None, "image_set": None}
        found = registry.versions(settings, name) if name in registered else []
        aliases = registry.aliases(settings, name)
        try:
            registry.reconcile(settings, name, adopt=False)
        except IntegrityError:
            # The others are listed all the same.
            named = ", ".join(f"{alias} = {version}" for alias, version in sorted(aliases.items()))
            rows.append({**none, "aliases": f"lost: {named}; see drillcore doctor"})
            aliases = {}
        else:
            if not found:
                rows.append({**none, "aliases": "never trained"})
                continue
            aliases = aliases or registry.mlflow_aliases(settings, name)
        shown = [row for row in found if model or row is found[0] or row.version in aliases.values()]
        rows += [_row(version, aliases) for version in shown]
    return rows


def model_history(settings: Settings, model: str) -> list[Json]:
    """Return every move of a model's aliases as plain values, each alias's in their order.

    A move without figures of its own has those that another move of the same file holds.

    Raises:
        StateError: MLflow has aliases of which the history knows nothing.
    """
    registry.reconcile(settings, model, pending_only=True)
    moves = registry.history(settings, model)
    if not moves and model not in (known_names := known_models(settings)):
        raise UnknownNameError("model", model, known_names)
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


def _row(version: registry.ModelVersion, aliases: dict[str, int]) -> dict[str, object]:
    figures = {name: float(version.tags[name]) for name in FIGURES if name in version.tags}
    return {
        "model": version.model,
        "version": version.version,
        "aliases": ", ".join(sorted(alias for alias, number in aliases.items() if number == version.version)),
        "lineage": version.lineage,
        **figures,
        "images": int(version.tags["images"]) if "images" in version.tags else None,
        "image_set": version.tags.get("images_sha256", "")[:6] or None,
        "git": str(version.metadata.get("git", ""))[:10],
        "sha256": version.sha256[:12],
        "precision": version.metadata.get("precision"),
        "run_id": version.run_id,
    }
