from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image
from scoring_case import serve_tiny, write_images

from drillcore.errors import BadImageError, InputError
from drillcore.runtime.batch.scoring import predict_many
from drillcore.runtime.model.session import Model, open_model
from drillcore.settings import Settings
from drillcore_serving.predict.one_image import predict_one

LIMIT = 10_000_000


@pytest.fixture
def model(settings: Settings) -> Model:
    return open_model(serve_tiny(settings).path, threads=1)


def expected(path: Path) -> np.ndarray:
    return tiny_models.expected_probabilities(np.asarray(Image.open(path))[:, :, None])


def test_one_image_is_answered(model: Model, tmp_path: Path) -> None:
    path = write_images(tmp_path, 1)[0]
    answer = predict_one(model, path, max_pixels=LIMIT)
    truth = expected(path)
    assert answer.label == tiny_models.CLASSES[int(truth.argmax())]
    assert [name for name, _ in answer.top5] == [tiny_models.CLASSES[n] for n in np.argsort(-truth)]
    assert answer.probability == answer.top5[0][1] == pytest.approx(truth.max(), abs=1e-5)
    assert answer.answered is None


def test_one_that_may_not_be_sure(settings: Settings, tmp_path: Path) -> None:
    unsure = open_model(serve_tiny(settings, abstain=tiny_models.UNSURE).path, threads=1)
    found = [predict_one(unsure, path, max_pixels=LIMIT) for path in write_images(tmp_path, 12)]
    assert {one.answered for one in found} == {True, False}
    assert all(one.answered == (one.probability >= 0.6) for one in found)


def test_what_is_no_image_is_one_line(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such image"):
        predict_one(model, tmp_path / "no.png", max_pixels=LIMIT)
    path = write_images(tmp_path, 1, bad=(0,))[0]
    with pytest.raises(BadImageError, match="truncated") as caught:
        predict_one(model, path, max_pixels=LIMIT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "workers"), [(30, 2), (230, 2)])
def test_many_images_are_answered_in_order(model: Model, tmp_path: Path, count: int, workers: int) -> None:
    paths = write_images(tmp_path, count, bad=(4, 20))
    found = predict_many(model, paths, max_pixels=LIMIT, workers=workers, threads=2)
    assert found.rows.tolist() == [n for n in range(count) if n not in (4, 20)]
    truth = np.stack([expected(paths[n]) for n in found.rows])
    np.testing.assert_allclose(found.probabilities, truth, atol=1e-5)
    np.testing.assert_array_equal(found.labels, found.probabilities.argmax(axis=1))
    assert [(row.index, row.reason) for row in found.set_aside] == [(4, "truncated"), (20, "truncated")]
    assert len(found.sha256) == count - 2


def test_no_images_and_small_images(settings: Settings, tmp_path: Path) -> None:
    model = open_model(serve_tiny(settings, min_size=[20, 20]).path, threads=1)
    nothing = predict_many(model, [], max_pixels=LIMIT, workers=1, threads=1)
    assert nothing.probabilities.shape == (0, 3)
    paths = write_images(tmp_path, 40)
    found = predict_many(model, paths, max_pixels=LIMIT, workers=0, threads=1)
    small = [n for n, path in enumerate(paths) if min(np.asarray(Image.open(path)).shape) < 20]
    assert [(row.index, row.reason) for row in found.set_aside] == [(n, "too_small") for n in small]
