"""Where a version comes from, as sections of its report: the data, and what made it of them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import yaml

from drillcore.analysis.reporting import Report
from drillcore.json_types import Values
from drillcore.pages.html import Html, details, element, facts, join, picture, section
from drillcore.runtime.model.precision import precision_in_words

DATA_PICTURES: dict[str, tuple[str, str]] = {
    "class-shares": ("Images of each class", "All splits, on a logarithmic scale."),
    "near-duplicates": (
        "Near duplicates",
        "Pairs that look the same. Red: they stand in different splits or have different labels.",
    ),
}


def data_section(report: Report) -> Html:
    """Return the facts of the data set, with its pictures."""
    data, parameters = report.data, report.run.params
    aside = data.get("set_aside") or {}
    splits = data.get("splits") or {}
    told = facts(
        [
            ("data set", data.get("dataset") or report.recipe.get("dataset", {}).get("name")),
            ("images", f"{int(data.get('images') or parameters.get('images') or 0):,}"),
            (
                "splits",
                ", ".join(f"{name} {splits[name]:,}" for name in ("train", "val", "test", "none") if name in splits),
            ),
            ("classes", data.get("classes") or len(report.version.metadata.get("classes", []))),
            ("only in training", ", ".join(data.get("train_only") or [])),
            ("sizes", _sizes(data)),
            ("colour modes", ", ".join(f"{mode} {count:,}" for mode, count in (data.get("modes") or {}).items())),
            ("on disk", f"{data['bytes'] / 1e6:,.1f} MB" if "bytes" in data else ""),
            (
                "set aside",
                ", ".join(f"{reason} {count:,}" for reason, count in aside.items()) or ("none" if data else ""),
            ),
            ("lineage", report.version.lineage),
            ("digest", element("code", report.version.metadata.get("data_digest", ""))),
        ]
    )
    drawn = [
        [element("h3", title), picture(report.pictures[name], f"{title}: {text}", caption=text, class_="wide")]
        for name, (title, text) in DATA_PICTURES.items()
        if name in report.pictures
    ]
    note = None
    if report.pictures and "near-duplicates" not in report.pictures:
        note = element("p", "No near duplicates were found.") if data else None
    return section("data", "Data", told, drawn, note)


def origin_section(report: Report) -> Html:
    """Return digests, code, seeds, run, parity, recipe and the data's DVC file."""
    version, metadata, run = report.version, report.version.metadata, report.run
    seconds = (run.ended - run.started) / 1000 if run.ended else None
    named = ((name.removeprefix("seconds_"), value) for name, value in run.metrics.items() if name[:8] == "seconds_")
    stages = sorted(((name, value) for name, value in named if value >= 0.05), key=lambda stage: -stage[1])
    git = metadata.get("git", "unknown") + (" with changes not committed" if metadata.get("dirty") else "")
    seeds = ", ".join(f"{name} {seed}" for name, seed in sorted((metadata.get("seeds") or {}).items()))
    told = facts(
        [
            ("model file", element("code", f"sha256 {version.sha256}")),
            ("git revision", element("code", git)),
            ("recipe", element("code", f"sha256 {metadata.get('recipe_sha256', '')}")),
            ("backbone weights", element("code", f"sha256 {metadata.get('weights_sha256', '')}")),
            ("seeds", seeds),
            ("parent", metadata.get("parent")),
            ("MLflow run", element("code", f"{run.id} ({run.name}, {run.status.lower()})")),
            ("logged", day(run.started) + (f", in {seconds:.0f} s" if seconds else "")),
            ("device", run.params.get("settings.device")),
            ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in stages)),
        ],
        long=True,
    )
    dvc = version.tags.get("data_dvc", "")
    return section(
        "origin",
        "Origin",
        told,
        _parity(report.parity),
        details("Recipe, every field", element("pre", _yaml(report.recipe))) if report.recipe else None,
        details("data.dvc of this version", element("pre", dvc)) if dvc else None,
    )


def day(milliseconds: int) -> str:
    """Return milliseconds since 1970 as a date and time, UTC."""
    return moment(datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).isoformat())


def moment(told: str) -> str:
    """Return a time of ISO 8601, UTC, as a date and time for people."""
    return datetime.datetime.fromisoformat(told).strftime("%d %B %Y, %H:%M UTC")


def _sizes(data: Values) -> str:
    if not data.get("smallest"):
        return ""
    (w, h), (wide, high) = data["smallest"], data["largest"]
    return f"width {w:,} to {wide:,}, height {h:,} to {high:,} pixels"


def _parity(parity: Values) -> Html | None:
    if not parity:
        return None
    told = facts(
        [
            ("answers compared", f"{parity.get('rows', 0):,}"),
            ("largest difference", f"{parity.get('max_difference', 0):.1e} in probability"),
            ("other labels", parity.get("label_disagreements")),
            ("exact ties", parity.get("ties")),
            ("thresholds crossed", parity.get("crossings")),
            ("batch sizes", ", ".join(map(str, parity.get("batches") or []))),
        ]
    )
    text = "The ONNX file answers as the parts it was made of, proven before it was registered."
    if precision := parity.get("precision"):
        text = "In float32 the ONNX file answers as the parts it was made of, proven before it was registered. Its "
        text += f"network was rounded: {precision_in_words(precision)}."
    return join([element("h3", "Parity"), element("p", text), told])


def _yaml(values: Mapping[str, object]) -> str:
    return str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))
