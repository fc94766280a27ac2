"""A scene of 8,192 x 8,192 pixels in decibels is scored within 3 GB, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dense_case import serve_dense, tiny_dense
from PIL import Image

from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.images.decode import decode_mask, quantise_decibels
from drillcore.settings import Settings

SIDE = 8192
# Sampled, with the highest mark of the program itself: ru_maxrss begins with what the process was before it became this
# program, a test worker with compilers and networks in it.
PROGRAM = """
import contextlib, json, sys, threading
from pathlib import Path
import psutil
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions
root, source, output, how = sys.argv[1:]
settings = Settings.load(Path(root))
options = {"overlay": DenseOptions(overlay=True), "geotiff": DenseOptions(format="geotiff"),
           "blended": DenseOptions(blending=Blending())}[how]
done, sums = threading.Event(), [0]
def watch():
    own = psutil.Process()
    while not done.wait(0.02):
        with contextlib.suppress(psutil.NoSuchProcess):
            sums.append(sum(each.memory_info().rss for each in (own, *own.children(recursive=True))))
watching = threading.Thread(target=watch)
watching.start()
try:
    result = score(settings, resolve(settings, "tiny-dense"), Path(source), Path(output), device="cpu", options=options)
finally:
    done.set()
    watching.join()
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
peak = max(*sums, int(line.split()[1]) * 1024)
print(json.dumps({"scored": result.scored, "peak": peak, "samples": len(sums), "seconds": result.seconds}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("how", "suffix"), [("overlay", "png"), ("geotiff", "tif"), ("blended", "png")])
def test_a_large_scene_needs_less_than_3_gigabytes(settings: Settings, tmp_path: Path, how: str, suffix: str) -> None:
    if how == "geotiff":
        pytest.importorskip("rasterio")
    serve_dense(settings, tile=1024)
    (tmp_path / "in").mkdir()
    scene = np.random.default_rng(0).normal(-7, 15, (SIDE, SIDE)).astype(np.float32)
    Image.fromarray(scene).save(tmp_path / "in" / "scene.tif")
    arguments = [str(settings.root), str(tmp_path / "in"), str(tmp_path / "out"), how]
    environment = os.environ | {"DRILLCORE_WORKERS": "1", "DRILLCORE_THREADS": "2"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    print(how, found)
    assert found["scored"] == 1
    assert found["samples"] > 20
    assert found["peak"] < 3e9
    verify(tmp_path / "out")
    row = pq.ParquetFile(tmp_path / "out" / "part-00000.parquet").read().to_pylist()[0]
    assert (row["height"], row["width"]) == (SIDE, SIDE)
    assert row["mask"].endswith(suffix)
    if how == "overlay":
        label = decode_mask(tmp_path / "out" / row["mask"], max_pixels=SIDE * SIDE)
        levels = quantise_decibels(scene)
        for top, left in ((0, 0), (1000, 4072), (8000, 8000)):  # corners, and across the border of tiles
            first, start = max(top - 16, 0), max(left - 16, 0)
            crop = levels[first : top + 120, start : left + 120, None]
            expected = tiny_dense.expected_label(crop)[top - first :, left - start :][:100, :100]
            np.testing.assert_array_equal(label[top : top + 100, left : left + 100], expected)
