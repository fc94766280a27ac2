"""What a run was made of and what came out of it, kept in MLflow."""

from drillcore.tracking.mlflow_run import Run, find_run, start_run
from drillcore.tracking.run_facts import RunFacts, bring_artifacts, remove_pictures, run_facts

__all__ = ["Run", "RunFacts", "bring_artifacts", "find_run", "remove_pictures", "run_facts", "start_run"]
