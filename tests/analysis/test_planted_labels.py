"""One label in twenty of the sample is made wrong before anything learns from it: the command must find them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from drillcore.analysis.suspects import find_suspect_labels
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.synthetic import write_sample
from drillcore.retrain.retraining import Retrain
from drillcore.settings import Settings

RECIPE = """\
schema: 1
name: noisy-forest
task: classification
dataset: {name: noisy}
backbone: {name: cnn1, weights: seed:7, taps: [layer3], train: {epochs: 25, patience: 12}}
head: {name: forest, params: {n_estimators: 100}}
augment: {name: flip_and_turn}
"""


def plant(folder: Path, seed: int) -> set[str]:
    """Move one image in twenty to another class's folder and return their names."""
    rng = np.random.default_rng(seed)
    images = sorted(folder.rglob("*.jpg"))
    classes = sorted({path.parent for path in images})
    planted = set()
    for number in rng.choice(len(images), len(images) // 20, replace=False):
        path = images[number]
        other = classes[(classes.index(path.parent) + int(rng.integers(1, len(classes)))) % len(classes)]
        shutil.move(path, other / path.name)
        planted.add(path.name)
    return planted


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_planted_labels_of_the_sample_are_found(tracked: Settings, tmp_path: Path) -> None:
    write_sample("plankton", tmp_path / "source")
    planted = plant(tmp_path / "source", 5)
    (tracked.models / "noisy-forest.yaml").write_text(RECIPE)
    import_dataset(tracked, "noisy", next((tmp_path / "source").rglob("*.jpg")).parents[1], layout="classes")
    with Retrain(tracked, "noisy-forest") as work:
        work.run_all().to_dict()
    found = find_suspect_labels(tracked, "noisy-forest")
    first = {Path(row["path"]).name for row in found.table()[: len(planted)]}
    recall = len(first & planted) / len(planted)
    assert recall >= 0.6, f"{recall:.2f} of {len(planted)} among the first, {len(found.suspects)} suspected"
    assert len(found.suspects) <= 3 * len(planted)
