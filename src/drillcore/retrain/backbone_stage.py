"""The backbone of a retrain: as it comes, reused, or trained."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from drillcore.datasets.manifest import Manifest
from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.recipes import Recipe
from drillcore.recipes.building import training_plan
from drillcore.recipes.named_network import input_size
from drillcore.recipes.parts import value_range
from drillcore.representations.catalogue import representation_row
from drillcore.retrain.records import BackboneDone
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone
    from drillcore.backbones.weights.artifacts import Artifact
    from drillcore.representations.base import Representation
    from drillcore.retrain.run import Run


def prepare_backbone(run: Run) -> tuple[BackboneDone, list[str]]:
    """Take the recipe's backbone as it comes, reuse the one trained before, or train it."""
    section = run.recipe.backbone
    if section.train is None:
        weights = weights_of_version(run.settings, section.name, section.weights)
        run.backbone = run.backbone_of(weights)
        text = f"{section.name} as it comes, {section.weights}"
        return BackboneDone(weights=weights, weights_sha256=run.backbone.weights_sha256, note=text), []
    kept, why = _kept_backbone(run)
    if kept is None:
        kept = _train(run)
        best = kept.training["curve"][kept.training["best_epoch"] - 1]
        why = f"trained {len(kept.training['curve'])} epochs in {kept.training['seconds']:.0f} s"
        if best["val_accuracy"] is not None:
            why += f", accuracy {best['val_accuracy']:.4f} on val"
    record = BackboneDone(
        weights=f"sha256:{kept.sha256}",
        weights_sha256=kept.sha256,
        trained=True,
        threads=kept.training.get("threads"),
        curve=kept.training["curve"],
        note=f"{section.name}: {why}",
    )
    return record, []


def recipe_backbone(
    settings: Settings, recipe: Recipe, weights: str, classes: int, representation: Representation
) -> Backbone:
    """Return the backbone as a recipe looks through it: its input size, its views or blocks.

    Args:
        settings: where weights are.
        recipe: names the backbone.
        weights: a form `build_backbone` reads.
        classes: of a network with a classifier of its own.
        representation: the recipe's, which decides how the backbone looks at an image.

    Raises:
        UnknownNameError, InputError, IntegrityError: as `build_backbone`.
    """
    from drillcore.backbones.catalogue import build_backbone
    from drillcore.export.onnx_network import quickened

    weights = weights_of_version(settings, recipe.backbone.name, weights)
    if not representation_row(recipe.representation.name).one_size:  # images are not resized
        made = build_backbone(recipe.backbone.name, weights, settings, any_size=True).reading(value_range(recipe))
    else:
        size = input_size(recipe)
        made = build_backbone(recipe.backbone.name, weights, settings, units=classes, resize=size)
        made = representation.look(made.reading(value_range(recipe)), recipe.backbone.taps)
    return quickened(made)


def weights_of_version(settings: Settings, name: str, weights: str) -> str:
    """Return `sha256:DIGEST` for MODEL@VERSION, a backbone that was trained for a registered model; others as they are.

    Raises:
        UnknownNameError: there is no such model or version.
        InputError: that version has another backbone, or one that was not trained.
    """
    from drillcore.backbones.catalogue import VERSION
    from drillcore.backbones.weights.artifacts import artifacts_folder

    match = VERSION.fullmatch(weights)
    if match is None:
        return weights
    from drillcore.registry import get_version

    version = get_version(settings, match[1], int(match[2]))
    sha256 = str(version.metadata.get("weights_sha256"))
    if not (artifacts_folder(settings, name) / sha256).is_dir():
        raise InputError(
            f"weights {weights}: no {name} that was trained for it is here; name a version retrained here whose recipe "
            f"trains {name}"
        )
    return f"sha256:{sha256}"


def _purpose(run: Run) -> dict[str, object]:
    """What a trained backbone is for: where this is equal, and the data is of the same lineage, it may be reused."""
    recipe, manifest = run.recipe, run.manifest
    values: Json = {
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


def _kept_backbone(run: Run) -> tuple[Artifact | None, str]:
    """Return the backbone to reuse and why, or None where it has to be trained (CONTRACTS, BACKBONE)."""
    from drillcore.backbones.weights.artifacts import latest_artifact

    kept = latest_artifact(run.settings, run.recipe.backbone.name, _purpose(run))
    if kept is None:
        return None, ""
    known, present = kept.training.get("images", []), _train_digests(run.manifest)
    if due(run.recipe, known, present):
        return None, ""
    return kept, f"the one trained before ({_new_share(known, present):.1%} of the images are new to it)"


def due(recipe: Recipe, known: Sequence[str], present: Sequence[str]) -> bool:
    """Whether what was learnt from the images `known` is to be learnt anew, by the recipe's `backbone.refresh`."""
    refresh, share = recipe.backbone.refresh, _new_share(known, present)
    limit = {"never": 2.0, "always": 0.0}.get(refresh, 1.0) if isinstance(refresh, str) else float(refresh)
    return share > limit or (share == limit and 0 < limit <= 1)


def _new_share(known: Sequence[str], present: Sequence[str]) -> float:
    seen = set(known)
    return sum(digest not in seen for digest in present) / max(1, len(present))


def _train_digests(manifest: Manifest) -> list[str]:
    return sorted(manifest.rows("train")["sha256"])


def _train(run: Run) -> Artifact:
    from drillcore.backbones.training.epochs import fit_to, train
    from drillcore.backbones.weights.artifacts import checkpoint_path, save_artifact

    settings, recipe, manifest = run.settings, run.recipe, run.manifest
    backbone = run.backbone_of(recipe.backbone.weights)
    plan = training_plan(recipe)
    fit_to(backbone.module, plan)  # what does not fit is told before a minute of decoding
    load = _native if plan.native else _labelled
    checkpoint = checkpoint_path(settings, backbone.name, _purpose(run))
    result = train(
        backbone.module,
        plan,
        load(run, backbone, "train"),
        _labelled(run, backbone, "val"),
        seed=recipe.seeds.train,
        device=settings.device,
        threads=settings.cpu_threads,
        measure=settings.measures_threads,
        checkpoint=checkpoint,
    )
    facts: Json = {
        "curve": result.curve,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "device": result.device,
        "threads": result.threads,
        "data_digest": manifest.digest,
        "images": _train_digests(manifest),
    }
    units = len(manifest.classes)
    artifact = save_artifact(settings, backbone, units=units, purpose=_purpose(run), training=facts)
    checkpoint.unlink(missing_ok=True)
    return artifact


def _labelled(run: Run, backbone: Backbone, split: str) -> Any:
    """Return a split's prepared images and labels; an empty val split is allowed (training then stops by its loss)."""
    import torch

    from drillcore.backbones.training.epochs import Labelled
    from drillcore.representations.feeding import prepare_all

    rows = run.manifest.table[run.manifest.table["split"] == split]
    load = run.load(rows, backbone.channels)
    images = prepare_all(backbone, load, len(rows), workers=run.settings.decode_workers)
    return Labelled(torch.from_numpy(images), torch.from_numpy(run.manifest.label_indices(rows)))


def _native(run: Run, backbone: Backbone, split: str) -> Any:
    """Return a split's images as they are, decoded, and labels."""
    import torch

    from drillcore.backbones.training.native_images import NativeImages

    rows = run.manifest.table[run.manifest.table["split"] == split]
    load = run.load(rows, backbone.channels)
    images = []
    with ThreadPoolExecutor(run.settings.decode_workers) as pool, progress("decoding", len(rows)) as advance:
        for image in pool.map(load, range(len(rows))):
            images.append(image)
            advance(1)
    return NativeImages(images, torch.from_numpy(run.manifest.label_indices(rows)), backbone.preprocessing)
