"""Writing a run's file and proving it: what every representation's writer offers, and the one for rows of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillcore.arrays import Array
from drillcore.export.assemble import build_classifier, checked_bytes, input_contract, write_stored
from drillcore.export.builder import GraphBuilder
from drillcore.export.parity import BATCHES, ODD_SIZES, Reference, check_parity
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.representations.activations.image_rows import ImageRows
from drillcore.runtime.model.metadata import ModelMetadata

if TYPE_CHECKING:
    from drillcore.retrain.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That a file answers as what was trained.

    Attributes:
        report: what was compared, as plain values.
        note: the same in a few words.
    """

    report: Json = field(default_factory=dict)
    note: str


class ModelWriter(ABC):
    """Writes and proves the file of one run, whose representation names it. `run`: fitted."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @abstractmethod
    def facts(self) -> Json:
        """Return fields of the metadata that depend on the representation, `input` among them."""

    @abstractmethod
    def write(self, metadata: ModelMetadata) -> bytes:
        """Return the file's bytes, the same for the same parts. Raises InputError."""

    @abstractmethod
    def prove(self) -> Proof:
        """Compare the run's file with what was trained. Raises ParityError: names the worst image."""


class RowsWriter(ModelWriter):
    """For `ImageRows`: preprocessing, backbone, what becomes of the activations, head.

    A representation of its own writes its nodes in a subclass.
    """

    exact = True  # what becomes of activations is the same to the last bit here and there

    def write_rows(self, builder: GraphBuilder, activations: str, rows: str) -> None:
        """Write nodes from activations float32 [N, A] to rows float32 [N * per_image, D]; here as the store has them.

        Args:
            builder: of the graph.
            activations: name of the input.
            rows: name of the output.
        """
        write_stored(builder, activations, rows, dtype=self.representation.dtype)

    def write_gather(self, builder: GraphBuilder, answers: str, gathered: str) -> None:
        """Write nodes from answers float32 [N * per_image, K] to one for each image, float32 [N, K], as `gather`."""
        raise NotImplementedError("a representation of several rows for an image writes how their answers are gathered")

    def rows_agree(self, rows: Array, activations: Array) -> bool:
        """Whether the file's rows are what becomes of its activations; for those that rounding changes in its own way.

        Args:
            rows: of the file, float32 [N * per_image, D].
            activations: of the file, float32 [N, A].
        """
        raise NotImplementedError("rows are compared number by number")

    @property
    def representation(self) -> ImageRows:
        """Of the run."""
        found = self.run.representation
        assert isinstance(found, ImageRows), "named in the rows of such representations"  # noqa: S101
        return found

    def facts(self) -> Json:
        """Return the input's contract."""
        return {"input": input_contract(self.run.backbone)}

    def write(self, metadata: ModelMetadata) -> bytes:
        """Return the file's bytes."""
        run = self.run
        reference = self.reference()
        model = build_classifier(
            run.backbone,
            run.recipe.backbone.taps,
            run.head,
            dtype=self.representation.dtype,
            metadata=metadata,
            write_rows=self.write_rows,
            write_gather=self.write_gather if self.representation.per_image > 1 else None,
            width=reference.width,
        )
        return checked_bytes(model)

    def reference(self) -> Reference:
        """Return the trained parts, on the path the head was fitted through."""
        run, representation = self.run, self.representation
        state = run.state
        return Reference(
            backbone=run.backbone,
            taps=run.recipe.backbone.taps,
            head=run.head,
            dtype=representation.dtype,
            transform=lambda activations: representation.transform(activations, state),
            per_image=representation.per_image,
            gather=representation.gather,
            exact=self.exact,
            agree=None if type(self).rows_agree is RowsWriter.rows_agree else self.rows_agree,
        )

    def prove(self) -> Proof:
        """Compare the file on every validation image and on odd sizes."""
        run = self.run
        table = run.parity_rows()
        names = list(table["path"])
        total = (len(names) + len(ODD_SIZES)) * len(BATCHES)
        with progress("parity", total, unit="answers") as advance:
            report = check_parity(
                run.float_file,
                self.reference(),
                run.images(table, run.backbone.channels),
                names=names,
                threads=run.settings.cpu_threads,
                advance=advance,
            )
        text = f"{report.rows:,} answers, largest difference {report.max_difference:.1e}"
        if report.crossings:
            text += f", {report.crossings} threshold crossings proven"
        return Proof(report=report.to_dict(), note=text)
