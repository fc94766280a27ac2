"""What every exported file has in common: its metadata, its record, and images read as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drillcore.datasets.manifest import Manifest
from drillcore.digests import sha256_bytes
from drillcore.files import write_bytes
from drillcore.recipes import Recipe
from drillcore.runtime.metadata import ModelMetadata
from drillcore.runtime.value_range import Range
from drillcore.settings import Settings
from drillcore.tasks import get_task
from drillcore.workflow.opening import MODEL_FILE
from drillcore.workflow.records import Record

PARITY_SPLIT = "val"


def keep_model(folder: Path, data: bytes, metadata: ModelMetadata) -> tuple[Record, list[str]]:
    """Write `model.onnx` to the run's folder; return the record (`sha256`, `bytes`, `metadata`) and the file made."""
    write_bytes(folder / MODEL_FILE, data)
    sha256 = sha256_bytes(data)
    return {
        "sha256": sha256,
        "bytes": len(data),
        "metadata": json.loads(metadata.to_json()),
        "note": f"{len(data) / 1e6:.1f} MB, sha256 {sha256[:12]}",
    }, [MODEL_FILE]


def parity_rows(manifest: Manifest) -> Any:
    """Return the rows parity is proven on; a data set too small for a validation split: what it was fitted on."""
    split = PARITY_SPLIT if (manifest.table["split"] == PARITY_SPLIT).any() else "train"
    return manifest.rows(split)


class DecodedImages(Sequence[Any]):
    """Images decoded when they are asked for, so that memory does not grow with their number."""

    def __init__(self, settings: Settings, paths: list[Path], channels: int, bounds: Range | None) -> None:
        self.paths, self.channels, self.how = paths, channels, settings.decoding(bounds)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        from drillcore.runtime.decode import decode_file

        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return decode_file(self.paths[index], self.channels, **self.how)


def metadata_of(settings: Settings, recipe: Recipe, manifest: Manifest, backbone: Any, **more: Any) -> ModelMetadata:
    """Return what the file says of itself; `more` are fields that depend on the task."""
    from drillcore.export.assemble import input_contract
    from drillcore.runtime.image_limits import ImageLimits
    from drillcore.workflow.provenance import git_facts

    git = git_facts(settings.root)
    labels = get_task(recipe.task).named
    fields: dict[str, Any] = {
        "classes": list(manifest.classes) if labels else [],
        "colours": [list(colour) for colour in manifest.colours] if labels and manifest.colours else None,
        "input": input_contract(backbone),
        "min_size": [1, 1],
        **more,
    }
    if fields["input"]["resize"] is not None:
        fields["limits"] = ImageLimits().to_dict()
    return ModelMetadata(
        task=recipe.task,
        model=recipe.name,
        data_digest=manifest.digest,
        lineage=manifest.lineage,
        git=git.revision,
        dirty=git.dirty,
        recipe_sha256=recipe.sha256,
        weights_sha256=backbone.weights_sha256,
        seeds={"train": recipe.seeds.train, "bootstrap": recipe.seeds.bootstrap, "split": manifest.split_seed},
        **fields,
    )
