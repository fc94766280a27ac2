"""A stated range of values goes one way: training, the file's metadata, batches and single answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shells import RECIPE, write_shells

from drillcore.datasets.ingest import check_dataset
from drillcore.datasets.landing import import_dataset
from drillcore.errors import RecipeError
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_parts
from drillcore.retrain.opening import answers
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.predict.one_image import predict_one

HIGH = 0.08  # as of a calm sea in linear power
STATED = RECIPE.replace("{name: shells}", f"{{name: shells, params: {{value_range: [0, {HIGH}]}}}}")


def write_powers(folder: Path, pictures: Path) -> Path:
    """The same shells as float32 TIFFs of small numbers: in dB they are one and the same level."""
    for path in sorted(pictures.rglob("*.png")):
        target = folder / path.relative_to(pictures).with_suffix(".tif")
        target.parent.mkdir(parents=True, exist_ok=True)
        levels = np.asarray(Image.open(path)).astype(np.float32)
        Image.fromarray(levels / np.float32(255) * np.float32(HIGH)).save(target)
    return folder


def test_a_stated_range_is_learned_exported_and_answered_alike(tracked: Settings, tmp_path: Path) -> None:
    (tracked.models / "shells-forest.yaml").write_text(STATED)
    pictures = write_shells(tmp_path / "pictures", 24)
    powers = write_powers(tmp_path / "powers", pictures)
    import_dataset(tracked, "shells", powers, layout="classes")
    with Retrain(tracked, "shells-forest", promote=True) as work:
        summary = work.run_all().to_dict()
    assert summary["status"] == "promoted"
    assert summary["figures"]["accuracy"] > 0.5
    model = open_model(Path(summary["folder"]) / "model.onnx", threads=1)
    assert model.metadata.value_range == (0, HIGH)
    # The pictures of 8 bits are these values mapped already, so every answer must be the same.
    floats, plain = sorted(powers.rglob("*.tif"))[::9], sorted(pictures.rglob("*.png"))[::9]
    batch, other = answers(tracked, model, floats), answers(tracked, model, plain)
    np.testing.assert_array_equal(batch.probabilities, other.probabilities)
    for path, row in zip(floats, batch.probabilities, strict=True):
        single = predict_one(model, path, max_pixels=tracked.max_pixels)
        assert single.note == ""
        assert single.probability == pytest.approx(row.max(), abs=1e-6)
    # A data set is checked without a recipe: what its values look like is a warning, seen again from memory.
    for _ in range(2):
        report = check_dataset(tracked, "shells").report
        assert report.ok
        warned = [row for row in report.warnings if "value_range" in row.expectation]
        assert [row.column for row in warned] == ["few_level_share", "looks_like"]
        assert "linear power" in warned[1].observed


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{value_range: [1, 0]}", r"\[low, high\] is expected"),
        ("{value_range: bright}", r"\[low, high\] is expected"),
        ("{range: [0, 1]}", "is no parameter of a data set; allowed: value_range"),
    ],
)
def test_what_is_no_range_is_named_with_its_line(tracked: Settings, params: str, said: str) -> None:
    text = RECIPE.replace("{name: shells}", f"{{name: shells, params: {params}}}")
    (tracked.models / "shells-forest.yaml").write_text(text)
    with pytest.raises(RecipeError, match=rf"shells-forest\.yaml:4:.*dataset\.params\..*{said}"):
        check_parts(load_recipe(tracked, "shells-forest"))
