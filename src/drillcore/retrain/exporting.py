"""One ONNX file of a fitted run, and the proof that it answers as what was trained."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from drillcore.digests import sha256_bytes
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.plugins import attribute
from drillcore.representations.catalogue import representation_row
from drillcore.retrain.abstaining import fit_abstaining
from drillcore.retrain.opening import FLOAT_FILE, MODEL_FILE
from drillcore.retrain.quantising import quantise
from drillcore.retrain.records import Exported, Proven
from drillcore.runtime.images.image_limits import ImageLimits
from drillcore.runtime.model.abstaining import abstaining_in_words
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.precision import INT8, precision_in_words

if TYPE_CHECKING:
    from drillcore.export.writing import ModelWriter
    from drillcore.retrain.run import Run


def export_model(run: Run) -> tuple[Exported, list[str]]:
    """Write `model.onnx` to the run's folder; where the recipe says when not to answer, with a threshold for it.

    Where the recipe asks for int8, the float file that it is made of stands beside it.

    Raises:
        ParityError: int8 may be worse by more than the recipe's margin.
    """
    writer = _writer(run)
    write, metadata = writer.write, _metadata(run, writer.facts())
    data = write(metadata)
    write_bytes(run.float_file, data)
    said, made = "", [MODEL_FILE]
    if run.recipe.export.precision == INT8:
        rounded = quantise(run, data, run.recipe.export.margin)
        write, metadata = rounded.write, dataclasses.replace(metadata, precision=rounded.precision)
        data = write(metadata)
        write_bytes(run.model_file, data)
        said, made = f"; {precision_in_words(rounded.precision)}", [MODEL_FILE, FLOAT_FILE]
    if run.recipe.abstain is not None:
        # The file itself is asked, so that the threshold is of the very numbers that it will be held against.
        metadata = dataclasses.replace(metadata, abstain=fit_abstaining(run, run.recipe.abstain, run.model_file))
        data = write(metadata)
        write_bytes(run.model_file, data)
        said += f"; {abstaining_in_words(metadata.abstain or {})}"
    sha256 = sha256_bytes(data)
    about = json.loads(metadata.to_json())
    note = f"{len(data) / 1e6:.1f} MB, sha256 {sha256[:12]}{said}"
    return Exported(sha256=sha256, bytes=len(data), metadata=about, note=note), made


def prove_parity(run: Run) -> tuple[Proven, list[str]]:
    """Compare the run's float file with its parts; an int8 one made of it has been held against it.

    Raises:
        ParityError: names the worst image; nothing is registered.
    """
    proof = _writer(run).prove()
    precision = run.record(Exported).metadata.get("precision")
    if precision is None:
        return Proven(report=proof.report, note=proof.note), []
    return Proven(report={**proof.report, "precision": precision}, note=f"in float32 {proof.note}"), []


def _writer(run: Run) -> ModelWriter:
    # Weights are written from the CPU, and parity is proven there: a store may have been filled on another device.
    run.backbone.to("cpu")
    found: ModelWriter = attribute(representation_row(run.recipe.representation.name).writer)(run)
    return found


def _metadata(run: Run, facts: Json) -> ModelMetadata:
    """Return what the file says of itself; `facts` are those of the representation's writer."""
    recipe, manifest, task = run.recipe, run.manifest, run.task
    fields: Json = {
        "classes": list(manifest.classes) if task.named else [],
        "colours": [list(colour) for colour in manifest.colours] if task.named and manifest.colours else None,
        "min_size": [1, 1],
        "unit": task.unit,
        **facts,
    }
    if fields["input"]["resize"] is not None:
        fields["limits"] = ImageLimits().to_dict()
    return ModelMetadata(
        task=task.name,
        model=recipe.name,
        data_digest=manifest.digest,
        lineage=manifest.lineage,
        git=run.git.revision,
        dirty=run.git.dirty,
        recipe_sha256=recipe.sha256,
        weights_sha256=run.backbone.weights_sha256,
        seeds={"train": recipe.seeds.train, "bootstrap": recipe.seeds.bootstrap, "split": manifest.split_seed},
        **fields,
    )
