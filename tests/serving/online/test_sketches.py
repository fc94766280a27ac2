"""What a server keeps of its answers: counted and sampled as they were given, and nothing where it must not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from online_case import Running, png, serve_tiny, until

from drillcore.files import write_bytes
from drillcore.runtime.batch.sketch import answer_vectors, merged, read_sketch
from drillcore.runtime.model.served import Pointer
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.online import sketching
from drillcore_serving.online.sketching import KeptAnswers, Sketches, image_number

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
    assert whole.rows == len(images)
    assert whole.digests.tolist() == sorted({image_number(image) for image in images})  # each image once
    expected = {image_number(image): row for image, row in zip(images, truth, strict=True)}
    np.testing.assert_array_equal(whole.labels, np.bincount(np.stack([*expected.values()]).argmax(1), minlength=3))
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


class Failing:
    """Writes as `write_bytes` does but the first time."""

    def __init__(self) -> None:
        self.failed = False

    def __call__(self, path: Path, data: bytes, *, sync: bool) -> None:
        if not self.failed:
            self.failed = True
            raise OSError("no space left on device")
        write_bytes(path, data, sync=sync)


def test_answers_of_a_day_that_could_not_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = iter(["2026-01-01", *["2026-01-02"] * 9])
    monkeypatch.setattr(sketching, "_today", lambda: next(days))
    monkeypatch.setattr(sketching, "write_bytes", Failing())
    kept = KeptAnswers(tmp_path, "0" * 64, ["a", "b"], "classification")
    image, row = np.zeros((4, 4, 1), np.uint8), {"probabilities": np.array([0.25, 0.75], np.float32)}
    kept.add([image], [row])
    with pytest.raises(OSError, match="no space"):
        kept.write("server")
    kept.write("server")  # nothing came since
    kept.add([image], [row])
    kept.write("server")
    assert {path.name: read_sketch(path).rows for path in tmp_path.iterdir()} == {
        "2026-01-01-server.npz": 1,
        "2026-01-02-server.npz": 1,
    }


def test_an_error_that_nobody_expects_is_said_and_ends_nothing(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_tiny(settings)
    write, failed, said = KeptAnswers.write, list[str](), list[str]()

    def broken(kept: KeptAnswers, server: str) -> None:
        if not failed:
            failed.append(server)
            raise ZeroDivisionError("nobody has thought of it")
        write(kept, server)

    monkeypatch.setattr(KeptAnswers, "write", broken)
    monkeypatch.setattr(sketching, "log", lambda event, **fields: said.append(fields["why"]))
    server = start(sketch_seconds=0.02)
    server.predict(png(3))
    until(lambda: bool(files(settings, served.sha256)))
    server.stop()
    assert said == ["nobody has thought of it"]


def test_a_model_is_not_held_for_its_sketch(settings: Settings, tmp_path: Path) -> None:
    model = open_model(tiny_models.write_tiny_model(tmp_path / "tiny.onnx"))
    alive = weakref.ref(model)
    sketches = Sketches(settings, 1.0)
    sketches.watched(lambda *_: [], Pointer("tiny", "", 1, "0" * 64), model)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("size", [(1024, 1024), (512, 512), (768, 1024), (1024, 1023)])
def test_numbers_of_images_that_differ_inside_equal_borders(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    numbers = {image_number(image)}
    for row, column in ((1, 1), (size[0] // 2, size[1] // 2), (size[0] // 3, 7)):
        other = image.copy()
        other[row, column, 1] = 254
        numbers.add(image_number(other))
    assert len(numbers) == 4


def test_numbers_of_equal_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    other = image.copy()
    other[150] = 0
    assert image_number(image) == image_number(image.copy()) != image_number(other)
    assert image_number(image[:, ::2]) == image_number(np.ascontiguousarray(image[:, ::2]))
