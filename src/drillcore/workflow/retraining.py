"""A retrain, stage by stage: what each one needs, does and leaves behind.

The order is that of `STAGES`. Each stage is a method that returns a JSON record, kept in the run's folder (`records`):
the command, the Prefect flow and the Python interface run the same code, and a killed run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from drillcore.datasets.manifest import Manifest
from drillcore.recipes import Recipe, load_recipe
from drillcore.settings import Settings
from drillcore.workflow.records import SUMMARY, Record, RunFolder
from drillcore.workflow.steps import Made, steps

Work = Callable[..., Made]


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


class Retrain:
    """One retrain of one model; a context manager that holds the model's lease.

    Args:
        settings: where things are.
        model: a recipe's name.
        promote: whether the last stage moves `champion`.
        force: forget what an earlier run of the same data and recipe has left.

    Raises:
        RecipeError, UnknownNameError: the recipe cannot be read.
        IntegrityError: MLflow's database was lost: what is trained could not be registered; raised on entering.
        LeaseHeldError: somebody else retrains this model; raised on entering.
    """

    def __init__(self, settings: Settings, model: str, *, promote: bool = False, force: bool = False) -> None:
        self.settings, self.promote, self.force = settings, promote, force
        self.recipe: Recipe = load_recipe(settings, model)
        self.manifest: Manifest | None = None
        self.folder: RunFolder | None = None
        self.done: dict[str, Record] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        from drillcore import registry
        from drillcore.recipes.building import check_parts
        from drillcore.state.leases import hold_lease

        check_parts(self.recipe)
        registry.require_database(self.settings, self.recipe.name)
        self._stack.enter_context(hold_lease(self.settings, f"retrain:{self.recipe.name}"))
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def stages(self) -> list[Stage]:
        """Return the stages of this retrain, in order."""
        return [stage for stage in STAGES if stage.name != "promote" or self.promote]

    def run(self, stage: Stage) -> Record:
        """Run one stage, or take its record; the stages before it must have run."""
        started = time.monotonic()
        record: Record = getattr(self, f"_{stage.name}")()
        self.done[stage.name] = {"seconds": round(time.monotonic() - started, 3), **record}
        return self.done[stage.name]

    def run_all(self) -> dict[str, Any]:
        """Run every stage and return the summary."""
        for stage in self.stages():
            self.run(stage)
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Return what happened as plain values: status, reason, version, figures, verdict, stages."""
        registered, gate = self.done["register"], self.done["gate"]
        promoted = self.done.get("promote")
        if promoted and promoted["promoted"]:
            status, reason = "promoted", promoted["reason"]
        elif promoted:
            status, reason = ("unchanged" if registered["reused"] else "refused"), promoted["reason"]
        else:
            status = "unchanged" if registered["reused"] else "registered"
            hint = f"drillcore promote {self.recipe.name}" if gate["passed"] else "the gate would refuse it"
            reason = f"version {registered['version']} is {gate['standing']}; {hint}"
        if status == "unchanged":
            reason = f"nothing new: data and recipe are those of version {registered['version']}; {reason}"
        rows = [
            {"stage": name, "seconds": row["seconds"], "reused": bool(row.get("reused")), "note": row.get("note", "")}
            for name, row in self.done.items()
        ]
        summary = {
            "model": self.recipe.name,
            "status": status,
            "reason": reason,
            "version": registered["version"],
            "run_id": registered["run_id"],
            "model_sha256": self.done["export"]["sha256"],
            "data_digest": self.done["ingest"]["data_digest"],
            "lineage": self.done["ingest"]["lineage"],
            "figures": self.done["evaluate"]["figures"],
            "verdict": gate["verdict"],
            "stages": rows,
            "folder": str(self._run_folder.path),
        }
        self._run_folder.write(SUMMARY, {"summary": summary, "champion_seq": gate["seq"]})
        return summary

    def peek(self) -> dict[str, Any] | None:
        """Return the last summary, as "unchanged", if a retrain would find nothing to do; None where it might.

        Neither Prefect nor MLflow nor DVC is imported: a tick with nothing new ends at once.
        """
        from drillcore.datasets.ingest import current_manifest, is_unchanged

        if self.force or not is_unchanged(self.settings, self.recipe.dataset.name):
            return None
        manifest = current_manifest(self.settings, self.recipe.dataset.name)
        kept = self._folder_of(manifest).read(SUMMARY)
        if kept is None or not self._stands(kept):
            return None
        last = kept["summary"]
        reason = f"nothing new: data and recipe are those of version {last['version']}"
        if last["status"] == "refused":
            reason += f", which the gate refused ({last['reason']})"
        stages = [{**row, "reused": True} for row in last["stages"]]
        return {**last, "status": "unchanged", "reason": reason, "stages": stages}

    def _stands(self, kept: Record) -> bool:
        """Whether the last outcome still stands: its version is champion, or refused by the same champion."""
        from drillcore.state.aliases import head
        from drillcore.state.database import open_state

        champion = head(open_state(self.settings), self.recipe.name, "champion")
        last = kept["summary"]
        if champion is not None and champion.version == last["version"]:
            return champion.sha256 in (None, last["model_sha256"])
        seq = champion.seq if champion is not None else 0
        judged = last["status"] in ("refused", "registered", "unchanged") and kept["champion_seq"] == seq
        return judged and (last["status"] == "refused" or not self.promote)

    def _folder_of(self, manifest: Manifest) -> RunFolder:
        parts = {"recipe": self.recipe.sha256, "data": manifest.digest}
        return RunFolder.of(self.settings, self.recipe.name, parts)

    @property
    def _data(self) -> Manifest:
        assert self.manifest is not None, "ingest comes first"  # noqa: S101 - the order is STAGES'
        return self.manifest

    @property
    def _run_folder(self) -> RunFolder:
        assert self.folder is not None, "ingest comes first"  # noqa: S101 - the order is STAGES'
        return self.folder

    def _ingest(self) -> Record:
        from drillcore.datasets.ingest import ingest

        self.manifest = ingest(self.settings, self.recipe.dataset.name)
        self.folder = self._folder_of(self.manifest)
        if self.force:
            self.folder.forget()
        self.folder.path.mkdir(parents=True, exist_ok=True)
        counts = self.manifest.table["split"].value_counts().to_dict()
        set_aside = len(self.manifest.quarantine)
        text = ", ".join(f"{counts.get(name, 0):,} {name}" for name in ("train", "val", "test"))
        return {
            "data_digest": self.manifest.digest,
            "lineage": self.manifest.lineage,
            "images": len(self.manifest.table),
            "set_aside": set_aside,
            "note": f"{text}; {set_aside} set aside",
        }

    def _backbone(self) -> Record:
        from drillcore.workflow.drilling import prepare_backbone

        return self._run_folder.once(
            "backbone", lambda: prepare_backbone(self.settings, self.recipe, self._data, self._run_folder.path)
        )

    def _features(self) -> Record:
        # Asked each time: the store itself knows what it has, and a damaged shard must be noticed.
        return steps(self.recipe).fill_store(self.settings, self.recipe, self._data, self.done["backbone"])

    def _fit(self) -> Record:
        return self._once("fit", steps(self.recipe).fit_head)

    def _export(self) -> Record:
        return self._once("export", steps(self.recipe).export_model)

    def _parity(self) -> Record:
        return self._once("parity", steps(self.recipe).prove_parity)

    def _evaluate(self) -> Record:
        return self._once("evaluate", steps(self.recipe).evaluate_run)

    def _once(self, stage: str, work: Work) -> Record:
        """Run a step of the task unless its record stands."""
        backbone, path = self.done["backbone"], self._run_folder.path
        return self._run_folder.once(stage, lambda: work(self.settings, self.recipe, self._data, backbone, path))

    def _register(self) -> Record:
        from drillcore.workflow.releasing import register_run

        return register_run(self.settings, self.recipe, self._data, self._run_folder, self.done)

    def _gate(self) -> Record:
        from drillcore.workflow.releasing import judge

        return judge(self.settings, self.recipe, self._data, self._run_folder, self.done)

    def _promote(self) -> Record:
        from drillcore.workflow.releasing import promote_run

        return promote_run(self.settings, self.recipe, self.done)
