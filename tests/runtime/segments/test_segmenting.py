from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError, UnsafeModelError
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.segments.pictures import map_png, outlined, outlines, read_map
from drillcore.runtime.segments.segment_params import MergeParams, SegmentParams, SuperpixelParams, segment_params
from drillcore.runtime.segments.segmenting import Parts, describe, finish


def halves(height: int = 40, width: int = 60, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """An image of a dark and a bright half, and a code of 8 bits that tells the same halves apart."""
    image = np.full((height, width, channels), 40, np.uint8)
    image[:, width // 2 :] = 210
    code = np.full((1, height, width), 0b10100000, np.uint8)
    code[:, :, width // 2 :] = 0b01000001
    return image, code


def params(**merge: object) -> SegmentParams:
    return SegmentParams(bits=(8,), superpixels=SuperpixelParams(least=10), merge=MergeParams(**merge))  # type: ignore[arg-type]


def metadata(answers: dict[str, object] | None) -> ModelMetadata:
    empty = "0" * 64
    return ModelMetadata(
        task="segments",
        model="parted",
        classes=[],
        input={"channels": 3, "resize": None, "preprocessing": {}},
        data_digest=empty,
        lineage="import-1",
        git="0" * 40,
        dirty=False,
        recipe_sha256=empty,
        weights_sha256=empty,
        seeds={},
        min_size=[1, 1],
        answers=answers,
    )


@pytest.mark.parametrize("merge", [{"method": "hamming"}, {"method": "hierarchy", "level": 4.0, "edge": 0.0}])
@pytest.mark.parametrize("channels", [1, 3])
def test_two_halves_are_two_segments(merge: dict[str, object], channels: int) -> None:
    image, code = halves(channels=channels)
    found = finish({"code": code}, image, metadata(params(**merge).model_dump(mode="json")))
    assert list(found) == ["segments", "code"]
    segments = found["segments"]
    assert segments.dtype == np.int32
    assert segments.max() == 1
    assert (segments[:, :28] == 0).all()
    assert (segments[:, 32:] == 1).all()
    one, other = describe(segments, code, params())
    assert one.code == bytes([0b10100000])
    assert other.code == bytes([0b01000001])
    assert one.area + other.area == 2400
    assert (one.box[0], one.box[1], one.box[3]) == (0, 0, 40)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 50), (40, 60)])
@pytest.mark.parametrize(
    "superpixels", [{"method": "egs"}, {"method": "egs", "half": True}, {"method": "slic", "count": 100_000}]
)
def test_a_one_colour_image_is_one_segment(size: tuple[int, int], superpixels: dict[str, object]) -> None:
    image, code = np.full((*size, 3), 90, np.uint8), np.full((1, *size), 5, np.uint8)
    for merge in (MergeParams(method="hamming"), MergeParams(level=0.1)):
        plan = SegmentParams(bits=(8,), superpixels=SuperpixelParams(**superpixels), merge=merge)  # type: ignore[arg-type]
        parts = Parts(image, code, plan)
        assert parts.segments(parts.groups()).max() == 0


def test_a_code_of_another_size_or_length_is_refused() -> None:
    image, code = halves()
    with pytest.raises(InputError, match=r"a code uint8 \[1, 40, 60\] is expected"):
        Parts(image, code[:, :-1], params())
    with pytest.raises(InputError, match=r"\[2, 40, 60\] is expected"):
        Parts(image, code, SegmentParams(bits=(8, 4)))


def test_the_sweep_begins_with_the_model_s_own_parameter() -> None:
    image, code = halves()
    for merge, count in (({"level": 0.5}, 26), ({"method": "hamming", "distance": 1}, 18)):
        parts = Parts(image, code, params(**merge))
        tried = parts.sweep()
        assert len(tried) == count
        assert np.array_equal(tried[0], parts.groups())
        counts = [groups.max() for groups in tried[1:]]
        assert sorted(counts, reverse=True) == counts


@pytest.mark.parametrize("answers", [None, {}, {"bits": [8], "merge": {"level": -1}}, {"bits": [65]}, {"bits": "8"}])
def test_metadata_that_do_not_say_how_are_refused(answers: dict[str, object] | None) -> None:
    with pytest.raises(UnsafeModelError, match="parted"):
        segment_params(metadata(answers))


def test_maps_go_through_png_and_outlines_lie_between_segments() -> None:
    segments = np.arange(70_000, dtype=np.int32).reshape(200, 350) % 60_000
    assert np.array_equal(read_map(map_png(segments)), segments)
    with pytest.raises(InputError, match="holds 65536"):
        map_png(segments + 10_000)
    two = np.zeros((4, 6), np.int32)
    two[:, 3:] = 1
    assert np.argwhere(outlines(two))[:, 1].tolist() == [2, 2, 2, 2]
    drawn = outlined(np.zeros((4, 6, 1), np.uint8), two)
    assert drawn.shape == (4, 6, 3)
    assert (drawn[:, 2] == (255, 220, 0)).all()
