"""The backbone of a retrain: as it comes, reused, or trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillcore.datasets.manifest import Manifest
from drillcore.recipes import Recipe
from drillcore.recipes.building import input_size, training_plan, views_of
from drillcore.recipes.parts import value_range
from drillcore.runtime.value_range import Range
from drillcore.settings import Settings
from drillcore.tasks import get_task
from drillcore.workflow.records import Record

if TYPE_CHECKING:
    from drillcore.backbones.artifacts import Artifact
    from drillcore.backbones.base import Backbone

HEAD_FOLDER, GROWTH_FOLDER = "head", "head-growth"


def prepare_backbone(settings: Settings, recipe: Recipe, manifest: Manifest, folder: Path) -> tuple[Record, list[str]]:
    """Take the recipe's backbone as it comes, reuse the one trained before, or train it.

    Returns:
        a record with `weights` (a form `build_backbone` reads), `weights_sha256`, `trained`, the learning `curve`.
    """
    if recipe.backbone.train is None:
        backbone = _as_it_comes(settings, recipe, manifest, recipe.backbone.weights)
        text = f"{recipe.backbone.name} as it comes, {recipe.backbone.weights}"
        facts = {"weights": recipe.backbone.weights, "weights_sha256": backbone.weights_sha256, "note": text}
        return {**facts, "trained": False, "curve": []}, []
    kept, why = _kept_backbone(settings, recipe, manifest)
    if kept is None:
        kept = _train(settings, recipe, manifest)
        best = kept.training["curve"][kept.training["best_epoch"] - 1]
        why = f"trained {len(kept.training['curve'])} epochs in {kept.training['seconds']:.0f} s"
        if best["val_accuracy"] is not None:
            why += f", accuracy {best['val_accuracy']:.4f} on val"
    record = {
        "weights": f"sha256:{kept.sha256}",
        "weights_sha256": kept.sha256,
        "trained": True,
        "curve": kept.training["curve"],
        "note": f"{recipe.backbone.name}: {why}",
    }
    return record, []


def load_backbone(settings: Settings, recipe: Recipe, manifest: Manifest, record: Record) -> Backbone:
    """Return the backbone of a run's record, its weights verified. Raises IntegrityError."""
    return _as_it_comes(settings, recipe, manifest, record["weights"])


def _as_it_comes(settings: Settings, recipe: Recipe, manifest: Manifest, weights: str) -> Backbone:
    return recipe_backbone(settings, recipe, weights, len(manifest.classes))


def recipe_backbone(settings: Settings, recipe: Recipe, weights: str, classes: int) -> Backbone:
    """Return the backbone as a recipe looks through it: its input size, and its views where rows are means of several.

    Args:
        settings: where weights are.
        recipe: names the backbone.
        weights: a form `build_backbone` reads.
        classes: of a network with a classifier of its own.

    Raises:
        UnknownNameError, InputError, IntegrityError: as `build_backbone`.
    """
    from drillcore.backbones.catalogue import build_backbone

    if get_task(recipe.task).dense:  # every pixel is answered: images are not resized
        return build_backbone(recipe.backbone.name, weights, settings, any_size=True).reading(value_range(recipe))
    size = input_size(recipe)
    made = build_backbone(recipe.backbone.name, weights, settings, units=classes, resize=size)
    return made.reading(value_range(recipe)).averaged(views_of(recipe))


def load_images(
    settings: Settings, channels: int, paths: Sequence[Path], bounds: Range | None = None
) -> Callable[[int], Any]:
    """Return what decodes the image of a number, as the exported model's users will; `bounds`: the recipe's range."""
    from drillcore.runtime.decode import decode_file

    return lambda number: decode_file(paths[number], channels, **settings.decoding(bounds))


def _purpose(recipe: Recipe, manifest: Manifest) -> dict[str, Any]:
    """What a trained backbone is for: where this is equal, and the data is of the same lineage, it may be reused."""
    values: dict[str, Any] = {
        "model": recipe.name,
        "lineage": manifest.lineage,
        "classes": list(manifest.classes),
        "weights": recipe.backbone.weights,
        "plan": training_plan(recipe).to_dict(),
        "seed": recipe.seeds.train,
    }
    bounds = value_range(recipe)
    values |= {} if bounds is None else {"value_range": list(bounds)}
    return values | ({"resize": recipe.backbone.resize} if recipe.backbone.resize else {})


def _kept_backbone(settings: Settings, recipe: Recipe, manifest: Manifest) -> tuple[Artifact | None, str]:
    """Return the backbone to reuse and why, or None where it has to be trained (CONTRACTS, BACKBONE)."""
    from drillcore.backbones.artifacts import latest_artifact

    kept = latest_artifact(settings, recipe.backbone.name, _purpose(recipe, manifest))
    if kept is None:
        return None, ""
    share = _new_share(kept.training.get("images", []), _train_digests(manifest))
    refresh = recipe.backbone.refresh
    limit = {"never": 2.0, "always": 0.0}.get(refresh, 1.0) if isinstance(refresh, str) else float(refresh)
    if share > limit or (share == limit and 0 < limit <= 1):
        return None, ""
    return kept, f"the one trained before ({share:.1%} of the images are new to it)"


def _new_share(known: Sequence[str], present: Sequence[str]) -> float:
    seen = set(known)
    return sum(digest not in seen for digest in present) / max(1, len(present))


def _train_digests(manifest: Manifest) -> list[str]:
    return sorted(manifest.rows("train")["sha256"])


def _train(settings: Settings, recipe: Recipe, manifest: Manifest) -> Artifact:
    from drillcore.backbones.artifacts import checkpoint_path, save_artifact
    from drillcore.backbones.training import train

    units = len(manifest.classes)
    backbone = _as_it_comes(settings, recipe, manifest, recipe.backbone.weights)
    plan = training_plan(recipe)
    load = _native if plan.native else _labelled
    checkpoint = checkpoint_path(settings, backbone.name, _purpose(recipe, manifest))
    result = train(
        backbone.module,
        plan,
        load(settings, manifest, backbone, "train"),
        _labelled(settings, manifest, backbone, "val"),
        seed=recipe.seeds.train,
        device=settings.device,
        threads=settings.cpu_threads,
        checkpoint=checkpoint,
    )
    facts: Mapping[str, Any] = {
        "curve": result.curve,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "device": result.device,
        "threads": result.threads,
        "data_digest": manifest.digest,
        "images": _train_digests(manifest),
    }
    artifact = save_artifact(settings, backbone, units=units, purpose=_purpose(recipe, manifest), training=dict(facts))
    checkpoint.unlink(missing_ok=True)
    return artifact


def _labelled(settings: Settings, manifest: Manifest, backbone: Backbone, split: str) -> Any:
    """Return a split's prepared images and labels; an empty val split is allowed (training then stops by its loss)."""
    import torch

    from drillcore.backbones.training import Labelled
    from drillcore.representations.feeding import prepare_all

    rows = manifest.table[manifest.table["split"] == split]
    paths = [manifest.path_of(path) for path in rows["path"]]
    load = load_images(settings, backbone.channels, paths, backbone.value_range)
    images = prepare_all(backbone, load, len(paths), workers=settings.decode_workers)
    return Labelled(torch.from_numpy(images), torch.from_numpy(manifest.label_indices(rows)))


def _native(settings: Settings, manifest: Manifest, backbone: Backbone, split: str) -> Any:
    """Return a split's images as they are, decoded, and labels."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from drillcore.backbones.native_images import NativeImages
    from drillcore.progress import progress

    rows = manifest.table[manifest.table["split"] == split]
    paths = [manifest.path_of(path) for path in rows["path"]]
    load = load_images(settings, backbone.channels, paths, backbone.value_range)
    images = []
    with ThreadPoolExecutor(settings.decode_workers) as pool, progress("decoding", len(rows)) as advance:
        for image in pool.map(load, range(len(rows))):
            images.append(image)
            advance(1)
    return NativeImages(images, torch.from_numpy(manifest.label_indices(rows)), backbone.preprocessing)
