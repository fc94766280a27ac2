"""`drillcore.segments`: an image's segments as arrays, by an exported file alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segment_case import write_segment_model

import drillcore
from drillcore.errors import BadImageError, InputError


def image(side: int = 12) -> np.ndarray:
    pixels = np.full((side, side + 8, 3), 60, np.uint8)
    pixels[:, side:] = 200
    return pixels


def test_arrays_of_an_image_and_of_a_file(tmp_path: Path) -> None:
    model = write_segment_model(tmp_path / "parted.onnx")
    found = drillcore.segments(model, image())
    assert found.map.dtype == np.int32
    assert np.array_equal(found.map, image()[:, :, 0] // 200)
    assert found.area.tolist() == [144, 96]
    assert found.code.tolist() == [[60], [200]]
    assert found.box.tolist() == [[0, 0, 12, 12], [12, 0, 20, 12]]
    Image.fromarray(image()[:, :, 0]).save(tmp_path / "grey.png")
    assert np.array_equal(drillcore.segments(str(model), tmp_path / "grey.png").map, found.map)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    model = write_segment_model(tmp_path / "parted.onnx")
    text = (
        "import sys, numpy, drillcore; "
        f"found = drillcore.segments({str(model)!r}, numpy.zeros((8, 8, 3), numpy.uint8)); "
        "assert found.map.max() == 0; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=False).returncode == 0


def test_what_cannot_be_parted(tmp_path: Path, tiny_model_file: Path) -> None:
    model = write_segment_model(tmp_path / "parted.onnx")
    with pytest.raises(InputError, match="makes no segments"):
        drillcore.segments(tiny_model_file, image())
    with pytest.raises(InputError, match="puts superpixels together by Hamming distance"):
        drillcore.segments(model, image(), level=2.0)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadImageError):
        drillcore.segments(model, tmp_path / "broken.png")
