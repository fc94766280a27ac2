"""Prefect artifacts: the figures and the gate's verdict, so that a run's page tells what happened."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact


def show_retrain(summary: dict[str, Any]) -> None:
    """Make the artifacts of a retrain: metrics, the gate's rules, where things are."""
    model = summary["model"]
    figures = {name: value for name, value in summary.get("figures", {}).items() if isinstance(value, int | float)}
    if figures:
        rows = [{"figure": name, "value": value} for name, value in figures.items()]
        create_table_artifact(rows, key=f"{model}-figures", description=f"{model} version {summary.get('version')}")
    rules = (summary.get("verdict") or {}).get("rules", [])
    lines = [f"# {model}: {summary['status']}", "", summary.get("reason") or ""]
    lines += [f"- {'passed' if rule['passed'] else '**failed**'}: {rule['text']}" for rule in rules]
    create_markdown_artifact("\n".join(lines), key=f"{model}-verdict", description="What happened and why")


def show_score(summary: dict[str, Any]) -> None:
    """Make the artifact of a batch scoring: counts and which version answered."""
    rows = [{"what": name, "value": str(value)} for name, value in summary.items()]
    create_table_artifact(rows, key=f"{summary['model']}-scored", description="Batch scoring")
