"""Images that are too large, or for which there is no memory: known by type, without internals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from drillcore.errors import ImageTooLargeError, InputError, NoMemoryError, UnsafeModelError
from drillcore.runtime.images.image_limits import ImageLimits, excess, limits_of
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.session import Model, open_model

# What onnxruntime has been seen to say.
MEMORY = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Abs node. Name:'resize/distance' "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* Failed to allocate memory",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Add node. std::bad_alloc",
    "CUDA failure 2: out of memory ; GPU=0 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_allocator.cc",
)
OTHER = (
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Conv node. "
    "Name:'secret/conv' Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/nn/conv.cc:12 bad shape",
)


class Failing:
    """A session that fails as onnxruntime does."""

    def __init__(self, session: Any, text: str) -> None:
        self._session, self._text = session, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *_: Any) -> Any:
        raise RuntimeError(self._text)


def metadata_of(tiny: ModuleType, resize: list[int] | None = None, **more: Any) -> ModelMetadata:
    return tiny.tiny_metadata(input={"channels": 1, "resize": resize, "preprocessing": {}}, **more)


def test_what_a_file_states_holds(tiny_models: ModuleType) -> None:
    about = metadata_of(tiny_models, [64, 32], limits={"side": 500, "side_by_target": 64 * 300})
    assert ModelMetadata.from_json(about.to_json()) == about
    assert limits_of(about) == ImageLimits(500, 64 * 300)
    assert excess(about, 300, 1) == excess(about, 1, 300) == ""
    assert "1 x 301 pixels" in excess(about, 301, 1)
    assert "at most 300 a side" in excess(about, 1, 301)
    narrow = replace(about, limits={"side": 20, "side_by_target": 2**24})
    assert "at most 20 a side" in excess(narrow, 20, 21)


def test_an_older_file_has_the_default_and_one_without_an_input_size_none(tiny_models: ModuleType) -> None:
    older = metadata_of(tiny_models, [64, 64])
    assert limits_of(older) == ImageLimits()
    assert excess(older, 24_000_000, 1)
    assert excess(older, 1, 65_501)
    assert not excess(older, 14_000, 14_000)
    large = metadata_of(tiny_models, [512, 512])  # a larger input takes shorter sides
    assert excess(large, 40_000, 1)
    assert not excess(large, 32_768, 1)
    assert limits_of(metadata_of(tiny_models)) is None
    assert not excess(metadata_of(tiny_models), 1, 10**9)


@pytest.mark.parametrize(
    "limits",
    [{}, {"side": 1}, {"side": 0, "side_by_target": 1}, {"side": 1, "side_by_target": 1, "x": 1}, [1], {"side": "1"}],
)
def test_limits_of_another_form_are_refused(tiny_models: ModuleType, limits: Any) -> None:
    with pytest.raises(UnsafeModelError, match="limits must be"):
        metadata_of(tiny_models, limits=limits)


def opened(tiny: ModuleType, folder: Path, **changes: Any) -> Model:
    return open_model(tiny.write_tiny_model(folder / "tiny.onnx", **changes))


def test_a_large_canvas_is_refused_before_anything_runs(tiny_models: ModuleType, tmp_path: Path) -> None:
    contract = {"channels": 1, "resize": [8, 8], "preprocessing": {}}
    model = opened(tiny_models, tmp_path, input=contract, limits={"side": 100, "side_by_target": 2**24})
    model._session = Failing(model._session, "it ran")
    with pytest.raises(ImageTooLargeError, match="101 x 1 pixels") as caught:
        model.run(np.zeros((1, 1, 101, 1), np.uint8))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("text", MEMORY)
def test_no_memory_is_known_by_its_type(tiny_models: ModuleType, tmp_path: Path, text: str) -> None:
    model = opened(tiny_models, tmp_path)
    model._session = Failing(model._session, text)
    with pytest.raises(NoMemoryError, match="not memory enough") as caught:
        model.run(np.zeros((1, 4, 5, 1), np.uint8))
    check_line(str(caught.value))


@pytest.mark.parametrize("text", OTHER)
def test_no_other_error_says_what_is_inside(tiny_models: ModuleType, tmp_path: Path, text: str) -> None:
    model = opened(tiny_models, tmp_path)
    model._session = Failing(model._session, text)
    with pytest.raises(InputError, match=r"cannot answer images \[1, 4, 5, 1\]") as caught:
        model.run(np.zeros((1, 4, 5, 1), np.uint8))
    check_line(str(caught.value))


def check_line(text: str) -> None:
    assert "\n" not in text
    for inside in ("/", "ONNXRuntime", "node", ".cc", "Name:", "Status"):
        assert inside not in text, text
