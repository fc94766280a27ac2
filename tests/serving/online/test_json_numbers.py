"""Numbers in JSON: whatever stands among them, memory is bounded by the body's size, and the answer is 400."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from drillcore_serving.online.problems import RefusedError
from drillcore_serving.online.protocol_tensors import read_request

COUNT = 50_000
LIMIT = 2**23


def body(data: str, count: int = COUNT) -> bytes:
    shape = f"[1, {count}, 1, 1]"
    return f'{{"inputs": [{{"name": "images", "datatype": "UINT8", "shape": {shape}, "data": {data}}}]}}'.encode()


def many(text: str, count: int = COUNT) -> str:
    return ",".join([text] * count)


CASES = {
    "a long text first": (f'["{"A" * 2000}",{many("1", COUNT - 1)}]', 12),
    "a long text last": (f'[{many("1", COUNT - 1)},"{"A" * 200_000}"]', 12),
    "texts of numbers": (f"[{many(chr(34) + '12' + chr(34))}]", 30),
    "a long number": (f"[{'9' * 4000},{many('1', COUNT - 1)}]", 12),
    "a number beyond 64 bits": (f"[{2**70},{many('1', COUNT - 1)}]", 12),
    "a fraction": (f"[{many('1', COUNT - 1)},1.5]", 12),
    "fractions": (f"[{many('1.0')}]", 30),
    "true": (f"[{many('1', COUNT - 1)},true]", 12),
    "nothing": (f"[{many('1', COUNT - 1)},null]", 12),
    "an object": (f"[{many('1', COUNT - 1)},{{}}]", 12),
    "objects": (f"[{many('{}')}]", 40),
    "empty lists": (f"[{many('[]')}]", 40),
    "a list among numbers": (f"[{many('1', COUNT - 1)},[1]]", 12),
    "numbers among lists": (f"[[1],{many('1', COUNT - 1)}]", 12),
    "ragged": (f"[[1,1],{many('[1]', COUNT - 2)}]", 40),
    "a long list among lists": (f"[[{many('1')}],{many('[1]', 1000)}]", 12),
    "too many": (f"[{many('1', COUNT + 1)}]", 12),
    "too few": (f"[{many('1', COUNT - 1)}]", 12),
    "one below 0": (f"[{many('1', COUNT - 1)},-1]", 12),
    "one above 255": (f"[{many('1', COUNT - 1)},256]", 12),
    "nested without end": ("[" * 5000 + "1" + "]" * 5000, 400),
    "nested and never closed": ("[" * 100_000, 40),
}


@pytest.mark.parametrize("name", CASES)
def test_what_are_no_levels_of_pixels_is_400_within_memory(name: str) -> None:
    data, times = CASES[name]
    text = body(data)
    found, peak = measured(text)
    assert isinstance(found, RefusedError)
    assert found.status == 400
    assert len(found.message) < 300
    assert peak < times * len(text) + 100_000


@pytest.mark.parametrize(
    ("data", "times"),
    [
        (f"[{many('7')}]", 14),
        (f"[[{many('7')}]]", 14),
        (f"[{many('[7]')}]", 40),
        (f"[{many('[[7]]')}]", 40),
        (f"[[[{many('[7]')}]]]", 40),
        (f"[{many('[7,7]', COUNT // 2)}]", 40),
    ],
    ids=["flat", "one row", "columns", "deep columns", "rows of columns", "pairs"],
)
def test_numbers_are_read_flat_or_nested_within_memory(data: str, times: int) -> None:
    text = body(data)
    found, peak = measured(text)
    assert found.images.shape == (1, COUNT, 1, 1)
    assert found.images.dtype == np.uint8
    assert (found.images == 7).all()
    assert peak < times * len(text) + 100_000


def measured(text: bytes) -> tuple[Any, int]:
    """What becomes of a request, and the peak of memory it took."""
    tracemalloc.start()
    try:
        try:
            found: Any = read_request(text, None, LIMIT)
        except RefusedError as error:
            found = error
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("absent", [None, "left out"])
@pytest.mark.parametrize("name", ["id", "parameters", "outputs"])
def test_what_is_optional_may_be_null_or_left_out(name: str, absent: str | None) -> None:
    request: dict[str, Any] = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 1, 1], "data": [9]}]}
    if absent is None:
        request[name] = None
        request["inputs"][0]["parameters"] = None
    found = read_request(json.dumps(request).encode(), None, LIMIT)
    assert (found.id, found.outputs, found.binary, found.images.tolist()) == ("", {}, False, [[[[9]]]])
