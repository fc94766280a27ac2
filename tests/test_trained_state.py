from __future__ import annotations

from pathlib import Path

import pytest
import torch

from drillcore.trained_state import read_state, write_state

IDENTITY = "5e" * 32
SCALARS = {"identity": IDENTITY, "epoch": 3, "losses": [0.5, 0.25], "best": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.safetensors"


def tensors() -> dict[str, torch.Tensor]:
    weights = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 7
    return {
        "weights": weights,
        "turned": weights.T,  # not contiguous, and of the same memory
        "counts": torch.tensor([1, 2**40], dtype=torch.int64),
        "half": torch.tensor([0.1], dtype=torch.float16),
        "none": torch.zeros(0, 5),
    }


def test_what_is_written_is_read_to_the_last_bit(path: Path) -> None:
    write_state(path, SCALARS, tensors())
    found = read_state(path, IDENTITY)
    assert found is not None
    assert found[0] == SCALARS
    assert set(found[1]) == set(tensors())
    for name, expected in tensors().items():
        assert found[1][name].dtype == expected.dtype
        assert torch.equal(found[1][name], expected)


def test_a_later_state_replaces_the_earlier(path: Path) -> None:
    write_state(path, SCALARS, tensors())
    write_state(path, {**SCALARS, "epoch": 4}, {"weights": torch.ones(2)})
    found = read_state(path, IDENTITY)
    assert found is not None
    assert found[0]["epoch"] == 4
    assert list(found[1]) == ["weights"]
    assert list(path.parent.iterdir()) == [path]


def test_no_state_where_there_is_no_file(path: Path) -> None:
    assert read_state(path, IDENTITY) is None


def test_the_state_of_another_training_is_not_read(path: Path) -> None:
    write_state(path, SCALARS, tensors())
    assert read_state(path, "00" * 32) is None


def test_no_damaged_byte_passes(path: Path) -> None:
    write_state(path, SCALARS, tensors())
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        assert read_state(path, IDENTITY) is None, place


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_a_cut_file_is_not_read(path: Path, length: int) -> None:
    write_state(path, SCALARS, tensors())
    path.write_bytes(path.read_bytes()[:length])
    assert read_state(path, IDENTITY) is None
