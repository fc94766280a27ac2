"""Prefect artifacts: a run's page tells what happened, why, and where to look further."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from drillcore.json_types import Json, Values
from drillcore.promotion.verdict import outcome
from drillcore.settings import Settings

_EMBEDDED_BYTES = 1_000_000  # a larger picture would burden the server's database; its path stands in the text
_OUTCOMES = {"yes": "yes", "no": "**NO**", "not checked": "not checked"}
_LOCAL_MLFLOW = "http://127.0.0.1:5000"


def show_retrain(settings: Settings, summary: Values) -> None:
    """Make the artifacts of a retrain: figures beside the champion's, the gate's rules, stages, pictures, links.

    A run that found nothing new has text and figures only: the rest stands with the run that made the version.
    """
    model = summary["model"]
    text = [_verdict_text(summary), _links(settings, summary)]
    create_markdown_artifact("\n\n".join(text), key=_key(model, "verdict"), description=str(summary["reason"]))
    description = f"{model} version {summary['version']} on images it has not learned from"
    _table(_figures(summary), _key(model, "figures"), description)
    if summary["status"] == "unchanged":
        return
    _table(summary["stages"], _key(model, "stages"), f"where the time of {model} version {summary['version']} went")
    for picture in sorted((Path(summary["folder"]) / "pictures").glob("*.png")):
        _show_picture(picture, _key(model, picture.stem), f"{picture.stem} of {model} version {summary['version']}")


def show_ingest(summary: Values) -> None:
    """Make the artifacts of an ingest: the expectations and what was found, splits, the Data Docs."""
    dataset, quality = summary["dataset"], summary["quality"]
    rows = [
        {
            "expectation": row["expectation"],
            "column": row["column"],
            "holds": "yes" if row["ok"] else "NO" if row["critical"] else "warning",
            "observed": row["observed"],
        }
        for row in quality["results"]
    ]
    _table(rows, _key(dataset, "quality"), f"what is expected of {dataset}, and what was found")
    lines = [f"# {dataset}: {summary['status']}", str(summary["reason"]), f"- lineage: {summary['lineage']}"]
    lines += [f"- {split}: {count:,} images" for split, count in summary["splits"].items()]
    if quality["docs"]:
        lines.append(f"- Data Docs: [{quality['docs']}]({Path(quality['docs']).as_uri()})")
    create_markdown_artifact("\n".join(lines), key=_key(dataset, "data"), description=str(summary["reason"]))


def show_promote(summary: Values) -> None:
    """Make the artifact of a promotion: the gate's rules."""
    model = summary["model"]
    create_markdown_artifact(
        _verdict_text(summary), key=_key(model, "promotion"), description=f"version {summary['version']}"
    )


def show_drift(summary: Values) -> None:
    """Make the artifacts of a look for drift: the tests, and the picture."""
    model = summary["model"]
    rows = [{**test, "alarm": "DRIFT" if test["alarm"] else "-"} for test in summary["tests"]]
    _table(rows, _key(model, "drift"), str(summary["reason"]))
    _show_picture(Path(summary["picture"]), _key(model, "drift-picture"), str(summary["reason"]))


def show_score(summary: Values) -> None:
    """Make the artifact of a batch scoring: counts, which version answered, where the results are."""
    rows = [{"what": name, "value": str(value)} for name, value in summary.items()]
    _table(rows, _key(summary["model"], "scored"), str(summary["reason"]))


def show_failure(run: UUID, where: str, failure: Values) -> None:
    """Make the artifact of a run that failed: the step, the reason, the command to go on.

    Its process may be gone, so the run is named: Prefect knows it only inside of one.
    """
    subject = str(failure.get("model") or failure.get("dataset") or failure["run"])
    lines = [f"# {subject}: {where}", str(failure["reason"])]
    if failure["command"]:
        lines.append(f"To go on:\n\n```bash\n{failure['command']}\n```")
    with get_client(sync_client=True) as client:
        made = ArtifactCreate(
            type="markdown",
            key=_key(subject, failure["flow"], "failure"),
            description=str(failure["reason"]),
            data="\n\n".join(lines),
            flow_run_id=run,
        )
        client.create_artifact(made)


def _verdict_text(summary: Values) -> str:
    lines = [f"# {summary['model']}: {summary['status']}", "", str(summary["reason"])]
    rules = (summary.get("verdict") or {}).get("rules", [])
    if rules:
        lines += ["", "| rule of the gate | passed | why |", "|---|---|---|"]
        lines += [f"| {rule['name']} | {_OUTCOMES[outcome(rule)]} | {_cell(rule['text'])} |" for rule in rules]
    return "\n".join(lines)


def _figures(summary: Values) -> list[Json]:
    """Return one row per figure; the champion's beside it where the gate compared them on the same images."""
    champion = (summary.get("verdict") or {}).get("champion") or {}
    plain = {name: value for name, value in summary["figures"].items() if isinstance(value, int | float)}
    return [{"figure": name, "this": value, "champion": champion.get(name, "-")} for name, value in plain.items()]


def _links(settings: Settings, summary: Values) -> str:
    uri = settings.tracking_uri
    web = uri.startswith(("http://", "https://"))
    page = f"{re.sub('//[^/@]*@', '//', uri).rstrip('/') if web else _LOCAL_MLFLOW}/#/runs/{summary['run_id']}"
    lines = [f"- run in MLflow: [{page}]({page})"]
    if not web:
        lines.append(f"  (after `.venv/bin/mlflow ui --backend-store-uri {settings.shown_tracking_uri} --port 5000`)")
    lines += [
        f"- file: `{summary['folder']}/model.onnx`, sha256 `{summary['model_sha256'][:12]}`",
        f"- data: digest `{summary['data_digest'][:12]}`, lineage {summary['lineage']}",
        f"- pictures: `{summary['folder']}/pictures`",
    ]
    return "\n".join(lines)


def _show_picture(path: Path, key: str, description: str) -> None:
    """Put a picture into the artifact itself: the page's reader may be on another machine."""
    data = path.read_bytes()
    if len(data) <= _EMBEDDED_BYTES:
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        create_image_artifact(url, key=key, description=description)


def _table(rows: Iterable[Values], key: str, description: str) -> None:
    create_table_artifact([dict(row) for row in rows], key=key, description=description)


def _key(*parts: str) -> str:
    """Return a key as Prefect wants it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
