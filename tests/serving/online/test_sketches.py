"""What a server keeps of its answers: counted and sampled as they were given, and nothing where it must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from online_case import Running, png, serve_tiny, until

from drillcore.runtime.batch.sketch import answer_vectors, merged, read_sketch
from drillcore.settings import Settings
from drillcore_serving.online.sketching import image_number

Start = Callable[..., Running]


def files(settings: Settings, sha256: str) -> list[Path]:
    return sorted((settings.state / "sketches" / "tiny" / sha256).glob("*.npz"))


def test_answers_are_kept_as_they_were_given(settings: Settings, start: Start) -> None:
    served = serve_tiny(settings)
    levels = [0, 0, 60, 200, 255]
    first = start(sketch_seconds=0.05)
    for level in levels[:3]:
        first.predict(png(level))
    until(lambda: bool(files(settings, served.sha256)))  # while it runs
    for level in levels[3:]:
        first.predict(png(level))
    first.stop()
    second = start()
    second.predict(png(60))
    second.stop()
    found = files(settings, served.sha256)
    assert len(found) == 2  # one for each server
    whole = merged(map(read_sketch, found), served.sha256, tiny_models.CLASSES)
    images = [np.full((9, 7, 1), level, np.uint8) for level in (*levels, 60)]
    truth = np.stack([tiny_models.expected_probabilities(image) for image in images])
    np.testing.assert_array_equal(whole.labels, np.bincount(truth.argmax(1), minlength=3))
    assert whole.digests.tolist() == sorted({image_number(image) for image in images})  # each image once
    expected = {image_number(image): row for image, row in zip(images, truth, strict=True)}
    rows = np.stack([expected[number] for number in whole.digests.tolist()]).astype(np.float32)
    np.testing.assert_allclose(whole.vectors, answer_vectors(rows, "classification"), atol=2e-3)


def test_nothing_is_kept_where_it_is_not_wanted_or_not_possible(
    settings: Settings, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    served = serve_tiny(settings)
    off = start(sketch_seconds=0)
    off.predict(png(3))
    off.stop()
    assert not (settings.state / "sketches").exists()
    (settings.state / "sketches").write_text("a file stands in the way")
    server = start(sketch_seconds=0.01)
    for level in (1, 2):
        assert server.predict(png(level)).status_code == 200
    server.stop()
    assert files(settings, served.sha256) == []


def test_numbers_of_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    other = image.copy()
    other[150] = 0
    assert image_number(image) == image_number(image.copy()) != image_number(other)
    assert image_number(image[:, ::2]) == image_number(np.ascontiguousarray(image[:, ::2]))
