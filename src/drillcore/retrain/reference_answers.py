"""What later answers of a version are compared with: a sketch of its answers to the images it was evaluated on.

The head has not learnt from them, and the answers are those the evaluation has made: no image passes the model again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drillcore.retrain.records import Exported
from drillcore.runtime.batch.sketch import SKETCHED, Sketch, sketch_of

if TYPE_CHECKING:
    from drillcore.retrain.run import Run

REFERENCE = "drift-reference.npz"  # an artifact of the version's run


def reference_answers(run: Run) -> Sketch | None:
    """Return the sketch of a run that was evaluated; None for tasks that have none."""
    if run.task.name not in SKETCHED:
        return None
    exported = run.record(Exported)
    answers = np.load(run.path / run.measuring.evidence_file, allow_pickle=False)
    digests = run.evaluated_rows()["sha256"]
    return sketch_of(exported.sha256, exported.metadata["classes"], run.task.name, answers, digests)
