"""A model that was trained before answers for whatever a program has: paths, bytes, Pillow images, arrays, lists."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tiny_dense
from PIL import Image

import drillcore
from drillcore import registry
from drillcore.analysis.spoken import hidden_map
from drillcore.api.mlflow_model import ImageFunction
from drillcore.digests import sha256_file
from drillcore.errors import BadImageError, InputError, UnknownNameError
from drillcore.settings import Settings
from drillcore.tracking import start_run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 40), np.uint8)).save(path)
    return path


def test_whatever_an_image_is_held_in_the_answer_is_one(
    settings: Settings, tiny_model_file: Path, tiny_models: ModuleType, picture: Path
) -> None:
    model = drillcore.load_model(tiny_model_file, settings=settings)
    assert repr(model) == "<LoadedModel tiny: classification>"
    pixels = np.asarray(Image.open(picture))
    rgba = Image.fromarray(np.dstack([pixels] * 3 + [np.full_like(pixels, 255)]))
    turned = Image.open(picture).rotate(90, expand=True)
    exif = turned.getexif()
    exif[274] = 6
    turned.info["exif"] = exif.tobytes()
    given = [picture, str(picture), picture.read_bytes(), Image.open(picture), pixels, pixels[:, :, None], rgba, turned]
    answers = model.predict(given)
    expected = tiny_models.expected_probabilities(pixels[:, :, None])
    for one in answers:
        assert one.label == tiny_models.CLASSES[int(np.argmax(expected))]
        assert [one.probabilities[name] for name in tiny_models.CLASSES] == pytest.approx(expected.tolist(), abs=1e-6)
        assert list(one.probabilities.values()) == sorted(one.probabilities.values(), reverse=True)
    assert model.predict(picture).probability == answers[0].probability
    assert model.predict([]) == []
    html = answers._repr_html_()
    assert html.count("<img") == len(given)
    assert answers[0].label in html
    assert "<dt>task</dt>" in model._repr_html_()


def test_what_spoke_for_a_class_is_asked_of_the_file_alone(
    settings: Settings, tiny_model_file: Path, tiny_models: ModuleType, picture: Path, tmp_path: Path
) -> None:
    model = drillcore.load_model(tiny_model_file, settings=settings)
    pixels = np.full((32, 48, 1), 40, np.uint8)
    pixels[:8, :12] = 255  # what makes it brighter: only hiding this corner takes from "dark", the bright images' class

    def asked(image: np.ndarray) -> np.ndarray:
        return np.asarray(tiny_models.expected_probabilities(image))

    found = model.explain(pixels, "dark")
    assert found.label == "dark"
    assert found.probability == pytest.approx(float(asked(pixels)[1]), abs=1e-6)
    np.testing.assert_allclose(found.map, hidden_map(1, pixels, asked), atol=1e-4)
    assert found.map.shape == (32, 48)
    assert found.map[:4, :6].min() > 0
    assert found.map[20:, 30:].max() < 0.1 * found.map[:4, :6].min()
    assert Image.open(io.BytesIO(found.overlay())).size == (48, 32)
    assert "what spoke for dark" in found._repr_html_()
    assert model.explain(picture).label == model.predict(picture).label
    with pytest.raises(UnknownNameError, match="known: bright, dark, middle"):
        model.explain(picture, "grey")
    dense = drillcore.load_model(tiny_dense.write_tiny_dense(tmp_path / "a.onnx", "dense_labels"), settings=settings)
    with pytest.raises(InputError, match="what predict gives is a map already"):
        dense.explain(picture)


def test_one_that_may_not_be_sure_says_so(
    settings: Settings, tmp_path: Path, tiny_models: ModuleType, picture: Path
) -> None:
    unsure = {**tiny_models.UNSURE, "threshold": 1.0}
    path = tiny_models.write_tiny_model(tmp_path / "unsure.onnx", abstain=unsure)
    model = drillcore.load_model(path, settings=settings)
    answer = model.predict(picture)
    assert not answer.answered
    assert answer.label in model.classes
    assert "not sure" in answer._repr_html_()
    assert ImageFunction(model).predict([str(picture)])["answered"].tolist() == [False]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "a int is no image; a path, the bytes of a file, a PIL image"),
        (np.zeros((4, 5), np.float32), r"an array float32 \[4, 5\] is no image"),
        (np.zeros((4, 5, 2), np.uint8), r"an array uint8 \[4, 5, 2\] is no image"),
        ("gone.jpg", "no such image: gone.jpg"),
        ({"a": 1}, "a dict is no image; .* or a list of them"),
        (["gone.jpg"], "image 0 of the list: no such image"),
    ],
)
def test_what_is_no_image_is_told_what_is_taken(
    settings: Settings, tiny_model_file: Path, given: object, told: str
) -> None:
    model = drillcore.load_model(tiny_model_file, settings=settings)
    with pytest.raises(InputError, match=told):
        model.predict(given)
    with pytest.raises(BadImageError):
        model.predict(b"no image")


def test_every_pixel_is_answered(settings: Settings, picture: Path, tmp_path: Path) -> None:
    labels = drillcore.load_model(tiny_dense.write_tiny_dense(tmp_path / "a.onnx", "dense_labels"), settings=settings)
    found = labels.predict(picture)
    expected = tiny_dense.expected_label(np.asarray(Image.open(picture))[:, :, None])
    np.testing.assert_array_equal(found.mask, expected)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.label == tiny_dense.CLASSES[int(np.bincount(expected.ravel()).argmax())]
    assert "share of the pixels" in found._repr_html_()
    values = drillcore.load_model(
        tiny_dense.write_tiny_dense(tmp_path / "b.onnx", "dense_regression"), settings=settings
    )
    answer = values.predict(picture)
    assert answer.values.shape[1:] == (30, 40)
    assert answer.label == ""


def test_a_registered_model_by_its_name(tracked: Settings, tiny_model_file: Path, picture: Path) -> None:
    sha256 = sha256_file(tiny_model_file)
    with start_run(tracked, "tiny") as run:
        registry.register(tracked, tiny_model_file, name="tiny", run_id=run.id, sha256=sha256, metadata={})
    registry.promote(tracked, "tiny", 1)
    for reference in ("tiny", "tiny@champion", "tiny@1"):
        model = drillcore.load_model(reference, settings=tracked)
        assert (model.version, model.sha256) == (1, sha256)
    assert model.predict(picture).label in model.classes
    with pytest.raises(UnknownNameError, match="known: tiny"):
        drillcore.load_model("tinny", settings=tracked)
    with pytest.raises(UnknownNameError, match="alias of tiny"):
        drillcore.load_model("tiny@best", settings=tracked)
    with pytest.raises(InputError, match=r"a int is no model; FILE\.onnx, or NAME"):
        drillcore.load_model(3)  # type: ignore[arg-type]


def test_a_file_needs_neither_torch_nor_mlflow(tiny_model_file: Path, picture: Path) -> None:
    code = (
        "import sys, drillcore\n"
        f"print(drillcore.load_model({str(tiny_model_file)!r}).predict({str(picture)!r}).label)\n"
        "print(sorted({'torch', 'mlflow', 'prefect', 'sklearn', 'dvc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=picture.parent)
    assert done.stdout.splitlines()[-1] == "[]"
