"""Writing and proving the file of a run on core samples: raw images of any size in, an answer for every pixel out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillcore.export.dense.assembly import dense_input_contract, export_dense, tile_geometry
from drillcore.export.dense.dense_parity import BATCHES, ODD_SIZES, DenseReference, check_dense_parity
from drillcore.export.writing import ModelWriter, Proof
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.representations.core_samples.core_rows import core_rows
from drillcore.runtime.model.metadata import ModelMetadata

if TYPE_CHECKING:
    from drillcore.retrain.run import Run

_CALIBRATION_IMAGES = 8
# Every pixel of each is compared with columns built in full, which takes a hundred times as long as the file does.
_PARITY_IMAGES, _PARITY_PIXELS = 4, 700_000


class CoreWriter(ModelWriter):
    """For `CoreRows`: network, interpolation, first stage and head in one graph."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.mode = run.recipe.export.dense_mode or "exact"
        self.representation = core_rows(run)
        self.core = self.representation.core(run)
        self.answers, self.context = self.representation.answers(run), self.representation.context(run)

    def facts(self) -> Json:
        """Return the input's contract, how values become answers, tiles, and the unit of values."""
        found: Json = {"input": dense_input_contract(self.core, self.context)}
        if not self.answers.plain:
            found["answers"] = self.answers.to_dict()
        if (geometry := tile_geometry(self.core, self.mode, self.answers, self.context)) is not None:
            halo, align = geometry
            found |= {"tile": -(-self.representation.plan.tile // align) * align, "halo": halo, "align": align}
        return found

    def write(self, metadata: ModelMetadata) -> bytes:
        """Return the file's bytes."""
        rows = self.run.fit_rows()
        chosen = rows.iloc[:: max(1, len(rows) // _CALIBRATION_IMAGES)][:_CALIBRATION_IMAGES]
        return export_dense(
            self.core,
            self.run.head,
            mode=self.mode,
            metadata=metadata,
            calibration=self.run.images(chosen, self.core.channels),
            answers=self.answers,
            context=self.context,
            dtype=self.representation.plan.dtype,
        )

    def prove(self) -> Proof:
        """Compare every pixel with network, interpolation and head, on some images and on odd sizes."""
        rows = self.run.parity_rows()
        chosen = rows.iloc[:: max(1, len(rows) // _PARITY_IMAGES)][:_PARITY_IMAGES]
        pixels = (chosen["width"].astype(int) * chosen["height"].astype(int)).cumsum()
        chosen = chosen.iloc[: max(1, int((pixels <= _PARITY_PIXELS).sum()))]
        with progress("parity", (len(chosen) + len(ODD_SIZES)) * len(BATCHES), unit="answers") as advance:
            report = check_dense_parity(
                self.run.float_file.read_bytes(),
                DenseReference(self.core, self.run.head, self.answers, self.context, self.representation.plan.dtype),
                self.run.images(chosen, self.core.channels),
                mode=self.mode,
                names=list(chosen["path"]),
                threads=self.run.settings.cpu_threads,
                advance=advance,
            )
        values = report.to_dict()
        text = f"{values['pixels']:,} pixels, largest difference {values['max_difference']:.1e}"
        if values["label_agreement"] is not None and self.mode != "exact":
            text += f"; {self.mode} agrees with exact on {values['label_agreement']:.4%} of the labels"
        return Proof(report=values, note=text)
