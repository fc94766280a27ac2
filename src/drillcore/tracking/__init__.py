"""What a run was made of and what came out of it, kept in MLflow."""

from drillcore.tracking.run import Run, find_run, start_run

__all__ = ["Run", "find_run", "start_run"]
