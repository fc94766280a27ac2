"""One ONNX file from the run's parts, and the proof that it answers as they do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drillcore.datasets.manifest import Manifest
from drillcore.digests import sha256_bytes
from drillcore.files import write_bytes
from drillcore.recipes import Recipe
from drillcore.recipes.building import store_dtype
from drillcore.runtime.metadata import ModelMetadata
from drillcore.settings import Settings
from drillcore.workflow.drilling import HEAD_FOLDER, load_backbone
from drillcore.workflow.evaluating import MODEL_FILE
from drillcore.workflow.records import Record

PARITY_SPLIT = "val"


def export_model(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Write `model.onnx` to the run's folder.

    Args:
        settings: where things are.
        recipe: of the model.
        manifest: the data it learned from.
        record: of the backbone stage.
        folder: the run's, with its fitted head.

    Returns:
        the record (`sha256`, `bytes`, `metadata`) and the file made.
    """
    from drillcore.export.assemble import export_classifier
    from drillcore.heads.base import load_head

    backbone = load_backbone(settings, recipe, manifest, record)
    metadata = _metadata(settings, recipe, manifest, backbone)
    head = load_head(folder / HEAD_FOLDER)
    data = export_classifier(backbone, recipe.backbone.taps, head, dtype=store_dtype(recipe), metadata=metadata)
    write_bytes(folder / MODEL_FILE, data)
    sha256 = sha256_bytes(data)
    text = f"{len(data) / 1e6:.1f} MB, sha256 {sha256[:12]}"
    return {
        "sha256": sha256,
        "bytes": len(data),
        "metadata": json.loads(metadata.to_json()),
        "note": text,
    }, [MODEL_FILE]


def prove_parity(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Compare the run's file with its parts on every validation image and on odd sizes.

    Raises:
        ParityError: names the worst image; nothing is registered.
    """
    from drillcore.export.parity import BATCHES, ODD_SIZES, Reference, check_parity
    from drillcore.heads.base import load_head
    from drillcore.progress import progress

    backbone = load_backbone(settings, recipe, manifest, record)
    reference = Reference(backbone, recipe.backbone.taps, load_head(folder / HEAD_FOLDER), store_dtype(recipe))
    # A data set too small for a validation split is proven on what it was fitted on.
    split = PARITY_SPLIT if (manifest.table["split"] == PARITY_SPLIT).any() else "train"
    names = list(manifest.rows(split)["path"])
    images = _Decoded([manifest.path_of(name) for name in names], backbone.channels, settings.max_pixels)
    total = (len(names) + len(ODD_SIZES)) * len(BATCHES)
    with progress("parity", total, unit="answers") as advance:
        report = check_parity(
            folder / MODEL_FILE, reference, images, names=names, threads=settings.cpu_threads, advance=advance
        )
    values = report.to_dict()
    text = f"{values['rows']:,} answers, largest difference {values['max_difference']:.1e}"
    if values["crossings"]:
        text += f", {values['crossings']} threshold crossings proven"
    return {**values, "note": text}, []


class _Decoded(Sequence[Any]):
    """Images decoded when they are asked for, so that memory does not grow with their number."""

    def __init__(self, paths: list[Path], channels: int, max_pixels: int) -> None:
        self.paths, self.channels, self.max_pixels = paths, channels, max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        from drillcore.runtime.decode import decode_file

        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return decode_file(self.paths[index], self.channels, max_pixels=self.max_pixels)


def _metadata(settings: Settings, recipe: Recipe, manifest: Manifest, backbone: Any) -> ModelMetadata:
    from drillcore.export.assemble import input_contract
    from drillcore.workflow.provenance import git_facts

    git = git_facts(settings.root)
    return ModelMetadata(
        task=recipe.task,
        model=recipe.name,
        classes=list(manifest.classes),
        colours=None if manifest.colours is None else [list(colour) for colour in manifest.colours],
        input=input_contract(backbone),
        data_digest=manifest.digest,
        lineage=manifest.lineage,
        git=git.revision,
        dirty=git.dirty,
        recipe_sha256=recipe.sha256,
        weights_sha256=backbone.weights_sha256,
        seeds={"train": recipe.seeds.train, "bootstrap": recipe.seeds.bootstrap, "split": manifest.split_seed},
        min_size=[1, 1],
    )
