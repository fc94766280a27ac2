"""Every head to champion on every task it declares; what none declares is refused (`tests/recipes/test_parts.py`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shells import write_shells

from drillcore.datasets.landing import import_dataset, sample_datasets
from drillcore.heads.catalogue import HEADS
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION, MULTILABEL

ROWS = """\
task: classification
dataset: {name: shells}
backbone: {name: cnn1, weights: "seed:3", taps: [TAP], train: {epochs: 3, patience: 0}}
gate: {metric: accuracy, confidence: 0.9, max_class_drop: 1.0, max_ms: 10000}
"""
PIXELS = """\
task: dense_labels
dataset: {name: camvid}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [conv1, fire4]}
representation:
  name: core_samples
  params: {position: 4, sampling: {method: class_balanced, pixels: 60}, views: {count: 1}}
evaluate: {split: val}
gate: {max_class_drop: 1.0, max_ms: 100000}
"""
COLOURS = PIXELS.replace("dense_labels", "dense_regression").replace("method: class_balanced, ", "")
LABELS = """\
task: multilabel
dataset: {name: voc}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [fire5], resize: 64}
gate: {max_class_drop: 1.0, max_ms: 10000}
"""
RECIPES = {MULTILABEL: LABELS, CLASSIFICATION: ROWS, DENSE_LABELS: PIXELS, DENSE_REGRESSION: COLOURS}
PARAMS = {
    "forest": "{n_estimators: 10}",
    "extra_trees": "{n_estimators: 10}",
    "linear_svm": "{calibration_folds: 2}",
    "logistic": "{calibration_folds: 2}",
    "kernel_svm": "{calibration_folds: 2}",
    "dual_svm": "{folds: 2}",
    "softmax": "{}",
    "adaptation": "{hidden: [24], epochs: 8, batch: 16, dropout: 0.1}",
    "dbn": "{hidden: [24], epochs: 20, batch: 64}",
    "dbn_regressor": "{hidden: [24], epochs: 20, batch: 64}",
}
LOGITS = """\
backbone: {name: squeezenet1_0_grey, weights: "seed:3", taps: [logits], resize: 48, train: {epochs: 6, patience: 0}}
"""
QUICK = {(CLASSIFICATION, "linear_svm"), (CLASSIFICATION, "dbn"), (DENSE_LABELS, "forest")}
MEANT = [
    pytest.param(task, head, marks=[] if (task, head) in QUICK else [pytest.mark.slow])
    for head, row in HEADS.items()
    for task in row.tasks
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Settings:
    root = tmp_path_factory.mktemp("matrix") / "checkout"
    (root / "models").mkdir(parents=True)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    import_dataset(settings, "shells", write_shells(root.parent / "source", 24), layout="classes")
    sample_datasets(settings, names=["camvid", "voc"])
    return settings


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("task", "head"), MEANT)
def test_from_recipe_to_champion(checkout: Settings, task: str, head: str) -> None:
    name = f"{head}-{task}".replace("_", "-")
    text = RECIPES[task].replace("TAP", "layer3")
    if head == "softmax":
        text = "".join(LOGITS if line.startswith("backbone") else line for line in text.splitlines(keepends=True))
    head_section = f"head: {{name: {head}, params: {PARAMS[head]}}}\nseeds: {{train: 3, bootstrap: 3}}\n"
    (checkout.models / f"{name}.yaml").write_text(f"schema: 1\nname: {name}\n{text}{head_section}")
    with Retrain(checkout, name, promote=True) as work:
        summary = work.run_all().to_dict()
    if head == "softmax" and summary["status"] == "refused":
        # Random weights and a few epochs: whether the network itself beats the most frequent class is not its head's.
        assert "does not beat" in summary["reason"]
        return
    assert summary["status"] == "promoted", summary["reason"]
    served = resolve(checkout, name)
    assert served.sha256 == summary["model_sha256"]
    assert open_model(served.path, threads=1).metadata.task == task  # what is served passes the checks of strangers
