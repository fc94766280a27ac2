"""What of a retrain goes to MLflow: parameters, curves, figures, pictures, the data's manifest and version."""

from __future__ import annotations

from drillcore.datasets.manifest import Manifest, write_manifest
from drillcore.json_types import Values
from drillcore.retrain.materials import SBOM, training_bill
from drillcore.retrain.provenance import making
from drillcore.retrain.records import BackboneDone, Evaluated, Exported, Proven
from drillcore.retrain.reference_answers import REFERENCE, reference_answers
from drillcore.retrain.run import Run
from drillcore.settings import Settings
from drillcore.tracking import Run as TrackedRun
from drillcore.versions import data_dvc_text

MAKING = "making.json"
_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def log_run(log: TrackedRun, run: Run) -> None:
    """Log everything a person looks for on the run's page."""
    from drillcore.retrain.pictures.evaluation_pictures import draw_curves  # Matplotlib

    settings, recipe, manifest, evaluated = run.settings, run.recipe, run.manifest, run.record(Evaluated)
    log.params({"recipe": recipe.to_dict(), "settings": settings.as_dict()})
    log.params({"data_digest": manifest.digest, "lineage": manifest.lineage, "images": len(manifest.table)})
    figures = {name: value for name, value in evaluated.figures.items() if isinstance(value, float)}
    log.metrics({**figures, "ms_per_image": evaluated.ms, "onnx_mb": evaluated.mb})
    log.metrics({f"seconds_{name}": record.seconds for name, record in run.done.items()})
    curve = run.record(BackboneDone).curve
    curves: Values = {name: [row[name] for row in curve if row[name] is not None] for name in _CURVES}
    log.curves({f"backbone_{name}": values for name, values in curves.items() if values})
    log.dataset(
        recipe.dataset.name,
        manifest.digest,
        write_manifest(settings, manifest),
        lineage=manifest.lineage,
    )
    log.json("evaluation.json", evaluated.figures)
    log.json("parity.json", run.record(Proven).to_dict())
    log.text("data.dvc", data_dvc_text(settings))
    log.json("recipe.json", recipe.to_dict())
    log.json(MAKING, making(run))
    log.json(SBOM, training_bill(recipe.name, run.record(Exported).sha256))
    if (answers := reference_answers(run)) is not None:
        log.bytes(REFERENCE, answers.to_bytes())
    log.file(write_manifest(settings, manifest), "data")
    log.json("data/about.json", _data_facts(manifest))
    log.json("evaluation-facts.json", {name: getattr(evaluated, name) for name in ("images", "ms", "mb")})
    if card := model_card(settings, recipe.name):
        log.text("card.md", card)
    log.describe(description(run), introduction(card))
    for name in evaluated.pictures:
        log.picture(name.rpartition("/")[2], (run.path / name).read_bytes())
    if (drawn := draw_curves(curve)) is not None:
        log.picture("learning-curves", drawn)


def model_card(settings: Settings, model: str) -> str:
    """Return a model's card; empty where it has none."""
    card = settings.models / f"{model}.md"
    return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""


def introduction(card: str) -> str:
    """Return what a card says before its first section, without its title."""
    lines = card.partition("\n## ")[0].strip().splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()


def description(run: Run) -> str:
    """Return what MLflow's pages say of the version a run makes, Markdown."""
    recipe, manifest = run.recipe, run.manifest
    data = f"{recipe.dataset.name} {manifest.digest[:12]}, lineage {manifest.lineage}, {len(manifest.table):,} images"
    parts = f"{recipe.backbone.name}, {recipe.representation.name}, {recipe.head.name}"
    return f"{run.record(Evaluated).note}.\n\n- made of: {parts}\n- data: {data}\n- file: {run.record(Exported).note}\n"


def log_verdict(settings: Settings, run_id: str, verdict: dict[str, object]) -> None:
    """Keep the gate's reasoning with the run of the version it judged; a later judgement replaces it."""
    TrackedRun(run_id, "", settings).json("gate.json", verdict)


def _data_facts(manifest: Manifest) -> dict[str, object]:
    """Return what a report says of the data, so that it needs no copy of it."""
    table = manifest.table
    sizes = table[["width", "height"]]
    return {
        "dataset": manifest.dataset,
        "digest": manifest.digest,
        "lineage": manifest.lineage,
        "images": len(table),
        "splits": {str(name): int(count) for name, count in table["split"].value_counts().items()},
        "classes": len(manifest.classes),
        "train_only": list(manifest.train_only),
        "bytes": int(table["bytes"].sum()),
        "smallest": [int(value) for value in sizes.min()],
        "largest": [int(value) for value in sizes.max()],
        "modes": {str(name): int(count) for name, count in table["mode"].value_counts().items()},
        "set_aside": {str(name): int(count) for name, count in manifest.quarantine["reason"].value_counts().items()},
        "split_seed": manifest.split_seed,
    }
