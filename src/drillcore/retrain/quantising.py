"""An int8 file of a float one: calibrated on training images, accepted if the validation images show it is no worse.

Its parity is a bound (CONTRACTS, PARITY): a paired bootstrap of the gate's metric, float against int8 on the validation
images, whose upper end of the loss may not pass the margin. Test images are looked at by nobody.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore import registry
from drillcore.arrays import Bytes
from drillcore.datasets.manifest import read_manifest
from drillcore.digests import sha256_bytes
from drillcore.errors import DataError, InputError, ParityError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.recipes import load_recipe
from drillcore.recipes.schema import AbstainSection
from drillcore.representations.catalogue import representation_row
from drillcore.retrain.abstaining import fit_abstaining
from drillcore.retrain.evaluating import evidence_of
from drillcore.retrain.judging.measuring import Standing
from drillcore.retrain.opening import open_for_batches
from drillcore.retrain.run import PARITY_SPLIT, Run
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.precision import INT8, precision_in_words
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings

if TYPE_CHECKING:
    import onnx

CONFIDENCE = 0.95  # of the bound, one-sided
CALIBRATED = 64  # images; twice as many gave Lite0 the same file but for rounding
_LARGEST = 1024  # pixels of a side that calibrating looks at, where images are not resized


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """An accepted int8 model: the graph, and `precision` of its metadata."""

    model: onnx.ModelProto
    precision: Json

    def write(self, metadata: ModelMetadata) -> bytes:
        """Return the file's bytes with `metadata` and the precision."""
        from drillcore.export.int8.quantising import with_metadata

        return with_metadata(self.model, replace(metadata, precision=self.precision))


def quantise(run: Run, data: bytes, margin: float) -> Quantised:
    """Round a float file's network to int8 and hold the result against the file.

    Args:
        run: of the data, with the recipe whose gate names the metric.
        data: the float file.
        margin: that the upper bound of the loss may not pass, in the metric's unit.

    Raises:
        ParityError: it may be worse by more than the margin; says the bound.
        DataError: there is no validation image to judge it by.
        InputError: a file that has no int8 form.
    """
    from drillcore.export.int8.quantising import quantised

    images = _calibration(run)
    try:
        judged = _on_validation(run)
    except DataError as error:
        raise DataError(f"int8 is accepted by what validation images show: {error}") from None
    model = quantised(data, images)
    with tempfile.TemporaryDirectory(prefix="drillcore-int8-") as folder:
        paths = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        write_bytes(paths[0], data)
        write_bytes(paths[1], model.SerializeToString(deterministic=True))
        found = _compared(judged, *paths)
    precision: Json = {
        "name": INT8,
        "metric": judged.recipe.gate.metric,
        "loss": -found["difference"] + 0.0,
        "bound": -found["low"] + 0.0,
        "margin": margin,
        "confidence": CONFIDENCE,
        "images": found["images"],
        "calibrated": len(images),
        "float_sha256": sha256_bytes(data),
    }
    if not precision["bound"] <= margin + 1e-12:
        said = precision_in_words(precision)
        raise ParityError(f"{said}: refused; keep float32, or allow more with export.margin in the recipe (--margin)")
    return Quantised(model=model, precision=precision)


def quantise_version(settings: Settings, served: ServedModel, margin: float | None = None) -> tuple[bytes, Json]:
    """Return the int8 file of a registered float version, and `precision` of its metadata; the version stays.

    Args:
        settings: where data and models are.
        served: the version's file.
        margin: as of `quantise`; None: the recipe's.

    Raises:
        InputError: it is int8 already.
        ParityError, DataError: as `quantise`.
    """
    row = registry.get_version(settings, served.model, served.version)
    recipe = load_recipe(settings, served.model)
    metadata = ModelMetadata(**row.metadata)
    if metadata.precision is not None:
        raise InputError(f"{served.model} version {served.version} is {metadata.precision['name']} already")
    run = Run(settings, recipe, read_manifest(settings, recipe.dataset.name, metadata.data_digest))
    made = quantise(run, served.path.read_bytes(), recipe.export.margin if margin is None else margin)
    data = made.write(metadata)
    if metadata.abstain is not None:
        wanted = AbstainSection(
            accuracy=metadata.abstain["accuracy"] or 0.0, confidence=metadata.abstain["confidence"] or 0.0
        )
        with tempfile.TemporaryDirectory(prefix="drillcore-int8-") as folder:
            path = Path(folder) / "int8.onnx"
            write_bytes(path, data)
            data = made.write(replace(metadata, abstain=fit_abstaining(run, wanted, path)))
    return data, made.precision


def _calibration(run: Run) -> Sequence[Bytes]:
    """Return training images at equal distances in the manifest's order, which lets no class out that has its share."""
    rows = run.manifest.rows("train")
    count = min(CALIBRATED, len(rows))
    chosen = rows.iloc[[number * len(rows) // count for number in range(count)]]
    resized = representation_row(run.recipe.representation.name).one_size
    return run.images(chosen, run.channels, most=None if resized else _LARGEST)


def _on_validation(run: Run) -> Run:
    """Return the run, with the validation images for those it is evaluated on. Raises DataError: there are none."""
    recipe = run.recipe
    changed = replace(
        recipe,
        evaluate=replace(recipe.evaluate, split=PARITY_SPLIT),
        # The lower end of the two-sided interval of 90 % is the one-sided bound of 95 %.
        gate=replace(recipe.gate, confidence=2 * CONFIDENCE - 1, margin=0.0),
    )
    judged = Run(run.settings, changed, run.manifest, run.folder)
    judged.evaluated_rows()
    return judged


def _compared(judged: Run, float_file: Path, int8_file: Path) -> Json:
    """Return the comparison of two files by the gate's metric, int8 minus float. Raises DataError: nothing is true."""
    standings = []
    for version, path in enumerate((float_file, int8_file), 1):
        model = open_for_batches(judged.settings, path)
        standings.append(
            Standing(
                version=version,
                lineage=judged.manifest.lineage,
                classes=model.metadata.classes,
                evidence=evidence_of(judged, model),
                sha256=model.sha256,
            )
        )
    found = judged.measuring.better(judged, standings[1], standings[0])
    if found is None:
        raise DataError("int8 is accepted by what validation images show, and of none of them anything is known")
    return found
