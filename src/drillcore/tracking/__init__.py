"""What a run was made of and what came out of it, kept in MLflow."""

from drillcore.tracking.reading import RunFacts, bring_artifacts, run_facts
from drillcore.tracking.run import Run, find_run, start_run

__all__ = ["Run", "RunFacts", "bring_artifacts", "find_run", "run_facts", "start_run"]
