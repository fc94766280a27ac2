"""The stages of a rebuild, in a process of their own: they run the code of the version's revision, not the caller's.

    python -m drillcore.upkeep.rebuild_stages REQUEST.json     writes one line of JSON per finished stage

The environment names the project (`DRILLCORE_ROOT`) and the state folder; the request names what is made there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from drillcore.datasets.manifest import read_manifest
from drillcore.environment import confine
from drillcore.files import read_object
from drillcore.json_types import Values
from drillcore.recipes import read_recipe
from drillcore.retrain.backbone_stage import prepare_backbone
from drillcore.retrain.exporting import export_model
from drillcore.retrain.fitting.head_fitting import fill_store, fit_head
from drillcore.retrain.provenance import GitFacts
from drillcore.retrain.records import BackboneDone, Exported, Fitted
from drillcore.retrain.run import Run
from drillcore.settings import Settings

STAGES = ("backbone", "features", "fit", "export")


def run_stages(settings: Settings, request: Values) -> None:
    """Run the stages of a request up to its last one; those that have run before are taken.

    Args:
        settings: of the project that the rebuild has made.
        request: `recipe` (a file), `dataset`, `digest`, `git`, `dirty`, `threads` (by stage) and `until`.
    """
    manifest = read_manifest(settings, request["dataset"], request["digest"], quarantine=False)
    run = Run(settings, read_recipe(Path(request["recipe"])), manifest)
    run.git = GitFacts(request["git"], request["dirty"])
    run.path.mkdir(parents=True, exist_ok=True)
    for stage in STAGES[: STAGES.index(request["until"]) + 1]:
        # A number of threads that is stated is kept to: the last bits depend on it.
        run.settings = replace(settings, threads=request["threads"].get(stage) or settings.threads)
        if stage == "backbone":
            found, note = run.once(BackboneDone, prepare_backbone).weights_sha256, ""
        elif stage == "features":
            note = fill_store(run).note
            found = run.state.sha256 if run.state else ""
        elif stage == "fit":
            found, note = run.once(Fitted, fit_head).arrays_sha256 or "", ""
        else:
            found, note = run.once(Exported, export_model).sha256, str(run.model_file)
        sys.stdout.write(json.dumps({"stage": stage, "result": found, "note": note}) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Run the request that the first argument names."""
    settings = Settings.load()
    confine(settings)
    run_stages(settings, read_object(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
