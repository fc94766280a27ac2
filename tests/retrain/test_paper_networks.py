"""Recipes on CNN2 and CNN3: trained, exported with proven parity, measured by the exported file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from shells import RECIPE, write_shells

from drillcore.datasets.landing import import_dataset
from drillcore.recipes import load_recipe
from drillcore.retrain.retraining import Retrain
from drillcore.settings import Settings


@pytest.mark.parametrize(("network", "taps"), [("cnn2", "layer5"), ("cnn3", "layer2, layer3")])
def test_a_recipe_on_it_is_retrained(tracked: Settings, tmp_path: Path, network: str, taps: str) -> None:
    recipe = RECIPE.replace("cnn1", network).replace("layer3]", f"{taps}]").replace("shells-forest", "shells")
    recipe = recipe.replace("epochs: 3", "epochs: 4, learning_rate: 0.02, batch: 16")
    (tracked.models / "shells.yaml").write_text(recipe)
    import_dataset(tracked, "shells", write_shells(tmp_path / "source", 24), layout="classes")
    with Retrain(tracked, "shells", promote=True) as work:
        summary = work.run_all().to_dict()
    assert summary["status"] == "promoted"
    assert summary["figures"]["accuracy"] > 0.5
    assert load_recipe(tracked, "shells").backbone.name == network
    session = onnxruntime.InferenceSession(str(Path(summary["folder"]) / "model.onnx"))
    image = np.full((1, 37, 53, 1), 200, np.uint8)
    first, second = (session.run(["probabilities"], {"images": image})[0] for _ in range(2))
    assert np.array_equal(first, second)  # nothing is dropped
