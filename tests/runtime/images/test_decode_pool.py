from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from drillcore.digests import sha256_file
from drillcore.runtime.images import decode_pool
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.images.decode_worker import read_image

LIMIT = 10_000_000


def images(folder: Path, count: int) -> list[str]:
    generator = np.random.default_rng(1)
    paths = []
    for number in range(count):
        pixels = generator.integers(0, 256, (*generator.integers(1, 60, 2), 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=0)
        paths.append(str(folder / f"{number}.png"))
    return paths


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_images_come_in_order_with_their_digests(tmp_path: Path, workers: int) -> None:
    paths = images(tmp_path, 200)
    Path(paths[50]).write_bytes(b"")
    Path(paths[60]).unlink()
    with DecodePool(3, max_pixels=LIMIT, workers=workers) as pool:
        found = [item for part in pool.stream(paths) for item in part]
    assert [item.path for item in found] == paths
    assert [(n, item.reason) for n, item in enumerate(found) if item.reason] == [(50, "empty"), (60, "missing")]
    for item in found:
        if not item.reason:
            assert item.sha256 == sha256_file(Path(item.path))
            np.testing.assert_array_equal(item.image, np.asarray(Image.open(item.path)))


def test_large_images_come_in_several_replies(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.bmp")
    paths = [str(tmp_path / "large.bmp")] * 8
    with DecodePool(3, max_pixels=LIMIT, workers=1) as pool:
        found = [item for part in pool.stream(paths) for item in part]
    assert len(found) == 8
    for item in found:
        np.testing.assert_array_equal(item.image, pixels)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_waits_is_bounded_by_bytes_not_by_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Thumbnails first, then scenes: what was a chunk of thumbnails would be gigabytes of scenes."""
    monkeypatch.setattr(decode_pool, "_HELD_BYTES", 40_000)
    monkeypatch.setattr(decode_pool, "_AHEAD_BYTES", 100_000)
    generator = np.random.default_rng(2)
    paths = images(tmp_path, 150)
    for number in range(30):
        path = tmp_path / f"scene-{number}.bmp"
        Image.fromarray(generator.integers(0, 256, (120, 100, 3), np.uint8)).save(path)
        paths.append(str(path))
    paths += paths[:20]
    with DecodePool(3, max_pixels=LIMIT, workers=workers) as pool:
        lists = list(pool.stream(paths))
    assert [item.path for part in lists for item in part] == paths
    if not workers:  # a process answers in replies of its own
        held = [sum(item.image.nbytes for item in part if item.image is not None) for part in lists]
        assert max(held) < 40_000 + 36_000


def test_odd_paths_are_set_aside(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    reasons = [
        read_image(str(tmp_path / name), 1, LIMIT).reason for name in ("pipe.png", "folder.png", "no.png", "a\0b")
    ]
    assert reasons == ["unreadable", "unreadable", "missing", "missing"]


def test_a_decoder_that_dies_takes_one_image_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = images(tmp_path, 40)
    # Stands for a crash inside of a codec: the child kills itself when it meets the name.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os\nreal = os.open\n"
        "def fake(path, *rest, **named):\n"
        "    if str(path).endswith('/17.png'): os.kill(os.getpid(), 9)\n"
        "    return real(path, *rest, **named)\n"
        "os.open = fake\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with DecodePool(1, max_pixels=LIMIT, workers=2) as pool:
        found = [item for part in pool.stream(paths) for item in part]
    assert [item.path for item in found] == paths
    assert [(item.path, item.reason) for item in found if item.reason] == [(paths[17], "unreadable")]


def test_leaving_early_ends_the_processes(tmp_path: Path) -> None:
    paths = images(tmp_path, 100)
    before = set(psutil.Process().children())
    with DecodePool(1, max_pixels=LIMIT, workers=2) as pool:
        next(pool.stream(paths))
    assert set(psutil.Process().children()) <= before


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    paths = images(tmp_path, 20)
    code = (
        "import sys, time\nfrom drillcore.runtime.images.decode_pool import DecodePool\n"
        "with DecodePool(1, max_pixels=10**7, workers=2) as pool:\n"
        "    list(pool.stream(sys.argv[1:]))\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, *paths], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline, "a decoder was left behind"
        time.sleep(0.05)
