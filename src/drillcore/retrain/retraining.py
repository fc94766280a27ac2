"""A retrain, stage by stage: what each one needs, does and leaves behind.

The order is that of `STAGES`. Each stage is a method that returns its record, kept in the run's folder (`records`):
the command, the Prefect flow and the Python interface run the same code, and a killed run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from drillcore import registry
from drillcore.cluster.address import Cluster
from drillcore.datasets.ingest import current_manifest, ingest, is_unchanged
from drillcore.json_types import Json, Values
from drillcore.recipes import Recipe, load_recipe
from drillcore.recipes.building import check_parts
from drillcore.retrain.abstaining import require_images
from drillcore.retrain.evaluating import evaluate_run
from drillcore.retrain.exporting import export_model, prove_parity
from drillcore.retrain.fitting.head_fitting import fill_store, fit_head
from drillcore.retrain.records import (
    SUMMARY,
    BackboneDone,
    Done,
    Evaluated,
    Exported,
    Figures,
    Filled,
    Fitted,
    Ingested,
    Judged,
    Promoted,
    Proven,
    Registered,
)
from drillcore.retrain.releasing import judge_run, promote_run, register_run
from drillcore.retrain.run import Run
from drillcore.runtime.model.signatures import check_keys
from drillcore.settings import Settings
from drillcore.state.aliases import head
from drillcore.state.database import open_state
from drillcore.state.leases import hold_lease


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its name, what it does in one line, how often it is tried again, and how long it may take."""

    name: str
    text: str
    retries: int = 0
    hours: float = 6.0


STAGES = (
    Stage("ingest", "bring the landing zone under version control and check it", retries=1),
    Stage("backbone", "train the backbone, or take the one there is"),
    Stage("features", "fill the feature store"),
    Stage("fit", "fit the head"),
    Stage("export", "write one ONNX file"),
    Stage("parity", "prove it answers as what was trained"),
    Stage("evaluate", "measure the ONNX file on images it has not learned from"),
    Stage("register", "log the run and register the version as challenger", retries=2),
    Stage("gate", "compare it with the champion on the same images", retries=1),
    Stage("promote", "move the champion, if the gate lets it", retries=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDone:
    """A stage of a summary: its name, seconds, whether its work had been done before, and what it did in one line."""

    stage: str
    seconds: float
    reused: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a retrain did.

    Attributes:
        model: name of the recipe.
        status: "registered", "promoted", "refused" or "unchanged".
        reason: of it, in one line.
        version: registered.
        run_id: it was logged with.
        model_sha256: of the file.
        data_digest: of the data.
        lineage: of the data.
        figures: on images it has not learned from.
        verdict: of the gate, as plain values; None for a champion.
        stages: in order.
        folder: of the run.
    """

    model: str
    status: str
    reason: str
    version: int
    run_id: str
    model_sha256: str
    data_digest: str
    lineage: str
    figures: Figures
    verdict: Json | None
    stages: list[StageDone]
    folder: str

    def to_dict(self) -> Json:
        """Return plain values for JSON; `from_dict` reads them."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {
            "stages": [asdict(row) for row in self.stages]
        }

    @classmethod
    def from_dict(cls, values: Values) -> Self:
        """Read what `to_dict` gave, or an earlier version kept."""
        known = {item.name: values[item.name] for item in fields(cls)}
        return cls(**known | {"stages": [StageDone(**row) for row in values["stages"]]})


class Retrain:
    """One retrain of one model; a context manager that holds the model's lease.

    Args:
        settings: where things are.
        model: a recipe's name.
        promote: whether the last stage moves `champion`.
        force: forget what an earlier run of the same data and recipe has left.
        changes: of the recipe, as `--set` has them: `head.params.n_estimators=100`.
        cluster: Dask workers that compute what the feature store lacks; None: this process.

    Raises:
        RecipeError, UnknownNameError: the recipe cannot be read.
        InputError: a key that signs, or one that is trusted, cannot be read, or the cluster cannot be reached; raised
            on entering.
        IntegrityError: MLflow's database was lost: what is trained could not be registered; raised on entering.
        LeaseHeldError: somebody else retrains this model; raised on entering.
    """

    def __init__(
        self,
        settings: Settings,
        model: str,
        *,
        promote: bool = False,
        force: bool = False,
        changes: Sequence[str] = (),
        cluster: Cluster | None = None,
    ) -> None:
        self.settings, self.promote, self.force, self.cluster = settings, promote, force, cluster
        self.recipe: Recipe = load_recipe(settings, model, changes)
        self._made: Run | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        check_parts(self.recipe)
        check_keys(self.settings)
        registry.require_database(self.settings, self.recipe.name)
        if self.cluster is not None:
            self.cluster.check()
            self.cluster.reach()
        self._stack.enter_context(hold_lease(self.settings, f"retrain:{self.recipe.name}"))
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def stages(self) -> list[Stage]:
        """Return the stages of this retrain, in order."""
        return [stage for stage in STAGES if stage.name != "promote" or self.promote]

    @property
    def made(self) -> Run:
        """The run, once the first stage has brought the data."""
        assert self._made is not None, "ingest comes first"  # noqa: S101 - the order is STAGES'
        return self._made

    def run(self, stage: Stage) -> Done:
        """Run one stage, or take its record; the stages before it must have run."""
        started = time.monotonic()
        record: Done = getattr(self, f"_{stage.name}")()
        if not record.seconds:
            record = replace(record, seconds=round(time.monotonic() - started, 3))
        self.made.done[stage.name] = record
        return record

    def run_all(self) -> Summary:
        """Run every stage and return the summary."""
        for stage in self.stages():
            self.run(stage)
        return self.summary()

    def summary(self) -> Summary:
        """Return what happened."""
        run = self.made
        registered, gate, promoted = run.record(Registered), run.record(Judged), run.done.get(Promoted.stage)
        if isinstance(promoted, Promoted) and promoted.promoted:
            status, reason = "promoted", promoted.reason
        elif isinstance(promoted, Promoted):
            status, reason = ("unchanged" if registered.reused else "refused"), promoted.reason
        else:
            status = "unchanged" if registered.reused else "registered"
            hint = f"; drillcore promote {self.recipe.name}" if gate.passed else "; the gate would refuse it"
            reason = f"version {registered.version} is {gate.standing}{hint if gate.verdict else ''}"
        if status == "unchanged":
            reason = f"nothing new: data and recipe are those of version {registered.version}; {reason}"
        ingested = run.record(Ingested)
        summary = Summary(
            model=self.recipe.name,
            status=status,
            reason=reason,
            version=registered.version,
            run_id=registered.run_id,
            model_sha256=run.record(Exported).sha256,
            data_digest=ingested.data_digest,
            lineage=ingested.lineage,
            figures=run.record(Evaluated).figures,
            verdict=gate.verdict,
            stages=[
                StageDone(stage=name, seconds=row.seconds, reused=row.reused, note=row.note)
                for name, row in run.done.items()
            ],
            folder=str(run.path),
        )
        run.folder.write_plain(SUMMARY, {"summary": summary.to_dict(), "champion_seq": gate.seq})
        return summary

    def peek(self) -> Summary | None:
        """Return the last summary, as "unchanged", if a retrain would find nothing to do; None where it might.

        Neither Prefect nor MLflow nor DVC is imported: a tick with nothing new ends at once.
        """
        if self.force or not is_unchanged(self.settings, self.recipe.dataset.name):
            return None
        manifest = current_manifest(self.settings, self.recipe.dataset.name)
        kept = Run(self.settings, self.recipe, manifest).folder.read_plain(SUMMARY)
        try:
            last = None if kept is None else Summary.from_dict(kept["summary"])
        except (KeyError, TypeError):  # of another version of the program
            return None
        if last is None or kept is None or not self._stands(last, kept["champion_seq"]):
            return None
        reason = f"nothing new: data and recipe are those of version {last.version}"
        if last.status == "refused":
            reason += f", which the gate refused ({last.reason})"
        stages = [replace(row, reused=True) for row in last.stages]
        return replace(last, status="unchanged", reason=reason, stages=stages)

    def _stands(self, last: Summary, champion_seq: int | None) -> bool:
        """Whether the last outcome still stands: its version is champion, or refused by the same champion."""
        champion = head(open_state(self.settings), self.recipe.name, "champion")
        if champion is not None and champion.version == last.version:
            return champion.sha256 in (None, last.model_sha256)
        seq = champion.seq if champion is not None else 0
        judged = last.status in ("refused", "registered", "unchanged") and champion_seq == seq
        return judged and (last.status == "refused" or not self.promote)

    def _ingest(self) -> Ingested:
        manifest = ingest(self.settings, self.recipe.dataset.name)
        require_images(self.recipe, manifest)
        run = self._made = Run(self.settings, self.recipe, manifest, cluster=self.cluster)
        if self.force:
            run.folder.forget()
        run.path.mkdir(parents=True, exist_ok=True)
        counts = manifest.table["split"].value_counts().to_dict()
        set_aside = len(manifest.quarantine)
        text = ", ".join(f"{counts.get(name, 0):,} {name}" for name in ("train", "val", "test"))
        return Ingested(
            data_digest=manifest.digest,
            lineage=manifest.lineage,
            images=len(manifest.table),
            set_aside=set_aside,
            note=f"{text}; {set_aside} set aside",
        )

    def _backbone(self) -> BackboneDone:
        from drillcore.retrain.backbone_stage import prepare_backbone

        return self.made.once(BackboneDone, prepare_backbone)

    def _features(self) -> Filled:
        # Asked each time: the store itself knows what it has, and a damaged shard must be noticed.
        return fill_store(self.made)

    def _fit(self) -> Fitted:
        return self.made.once(Fitted, fit_head)

    def _export(self) -> Exported:
        return self.made.once(Exported, export_model)

    def _parity(self) -> Proven:
        return self.made.once(Proven, prove_parity)

    def _evaluate(self) -> Evaluated:
        return self.made.once(Evaluated, evaluate_run)

    def _register(self) -> Registered:
        return register_run(self.made)

    def _gate(self) -> Judged:
        return judge_run(self.made)

    def _promote(self) -> Promoted:
        return promote_run(self.made)
