"""`drillcore bench store`: extraction against the bare backbone, what +1 % costs, damage, memory, bytes per image.

The images are drawn here, grey JPEG files of about plankton's sizes, so that the benchmark needs no data set.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import facts, table, write_report
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.devices import exact_computing, resolve_device
from drillcore.digests import sha256_bytes
from drillcore.representations.activations.extraction import BATCH, extract, feature_spec
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings
from drillcore.store import FeatureStore

SEED = 0
# name: taps, resize, channels
CASES: dict[str, tuple[list[str], tuple[int, int] | None]] = {
    "cnn1": (["layer3"], None),
    "squeezenet1_0": (["fire9"], (112, 112)),
}
_MEMORY_PROGRAM = """
import sys
import numpy as np
from benchmarks.store import backbone_of
from drillcore.representations.activations.extraction import extract
from drillcore.settings import Settings
from pathlib import Path
count, root = int(sys.argv[1]), Path(sys.argv[2])
settings = Settings.load(root)
images = np.random.default_rng(0).integers(0, 256, (64, 90, 70, 1), dtype=np.uint8)
names = [f"{number:064x}" for number in range(count)]
table = extract(backbone_of("cnn1", settings), ["layer2"], names, lambda row: images[row % 64], settings)
assert table.extracted == count
# Not ru_maxrss: a child takes that over from the process that started it.
peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak[0].split()[1]) * 1024)
"""


def run(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    count, rounds = (128, 1) if quick else (1024, 5)
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=_scratch(settings)) as name:
        folder = Path(name)
        paths = draw_images(folder / "images", count)
        digests = [sha256_bytes(path.read_bytes()) for path in paths]
        rates = {case: _rates(case, paths, digests, settings, folder / case, rounds) for case in CASES}
        grown = _plus_one_percent(settings, folder / "grown", 300 if quick else 10_000)
        damage = _damage(settings, folder / "damage")
        memory = {size: _peak_memory(folder, size) for size in ((200, 2000) if quick else (3_000, 30_000))}
        sizes = _bytes_per_image(settings, folder / "sizes", 128 if quick else 2_000)
    small, large = memory.values()
    figures = {
        "extraction_vs_backbone": rates["squeezenet1_0"]["extraction_vs_backbone"],
        "extraction_vs_backbone_cnn1": rates["cnn1"]["extraction_vs_backbone"],
        "plus_one_percent_forward_share": grown["share"],
        "peak_memory_ratio_10x": large / small,
        "damaged_shard_recomputed_share": damage["share"],
    }
    raw = {"rates": rates, "plus_one_percent": grown, "damage": damage, "memory": memory, "bytes": sizes}
    if quick:
        return {**figures, **facts({"images": SEED}), "raw": raw}
    return write_report("store", figures, raw, _text(rates, grown, damage, memory, sizes), seeds={"images": SEED})


def draw_images(folder: Path, count: int) -> list[Path]:
    """Write `count` grey JPEG files, dark ellipses on white, every one of its own size."""
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    paths = []
    for number in range(count):
        height, width = (int(side) for side in rng.integers(35, 160, 2))
        image = Image.new("L", (width, height), 250)
        draw = ImageDraw.Draw(image)
        for _ in range(4):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            size = rng.uniform(3, 25)
            draw.ellipse((x - size, y - size / 2, x + size, y + size / 2), fill=int(rng.integers(0, 200)))
        paths.append(folder / f"{number:05d}.jpg")
        image.save(paths[-1], quality=90)
    return paths


def backbone_of(case: str, settings: Settings) -> Backbone:
    """Return a backbone of `CASES` with random weights; speed does not depend on them."""
    units = 121 if case == "cnn1" else None
    return build_backbone(case, "seed:0", settings, units=units, resize=CASES[case][1])


def _rates(
    case: str, paths: list[Path], digests: list[str], settings: Settings, folder: Path, rounds: int
) -> dict[str, Any]:
    """Time the bare backbone, extraction from decoded images and extraction from files, in turn."""
    backbone, taps = backbone_of(case, settings), CASES[case][0]

    def from_file(row: int) -> npt.NDArray[np.uint8]:
        return decode_file(paths[row], backbone.channels, max_pixels=settings.max_pixels)

    decoded = [from_file(row) for row in range(len(paths))]
    prepared = np.stack([backbone.prepare(image) for image in decoded])
    seconds: dict[str, list[float]] = {"bare": [], "decoded": [], "files": []}
    for number in range(rounds + 1):  # the first warms up
        timed = {
            "bare": _timed(lambda: _bare(backbone, taps, prepared, settings)),
            "decoded": _timed(
                lambda: extract(backbone, taps, digests, decoded.__getitem__, settings, root=folder / "a")
            ),
            "files": _timed(lambda: extract(backbone, taps, digests, from_file, settings, root=folder / "b")),
        }
        shutil.rmtree(folder)
        for name, value in timed.items():
            if number:
                seconds[name].append(value)
    # Ratio of neighbours in time, so that a machine that gets slower slows both.
    ratios = [bare / other for bare, other in zip(seconds["bare"], seconds["decoded"], strict=True)]
    from_files = [bare / other for bare, other in zip(seconds["bare"], seconds["files"], strict=True)]
    return {
        "images": len(paths),
        "seconds": seconds,
        "images_per_second": {name: len(paths) / min(values) for name, values in seconds.items()},
        "extraction_vs_backbone": statistics.median(ratios),
        "extraction_from_files_vs_backbone": statistics.median(from_files),
    }


def _bare(backbone: Backbone, taps: list[str], prepared: npt.NDArray[np.float32], settings: Settings) -> None:
    import torch

    device = resolve_device(settings.device)
    backbone.to(device)
    with exact_computing(settings.cpu_threads):
        for start in range(0, len(prepared), BATCH):
            backbone.rows(torch.from_numpy(prepared[start : start + BATCH]).to(device), taps).cpu()


def _plus_one_percent(settings: Settings, root: Path, count: int) -> dict[str, Any]:
    """Extract, add 1 %, extract again; count what passes the backbone and compare with a cold extraction."""
    backbone = backbone_of("cnn1", settings)
    images = np.random.default_rng(SEED).integers(0, 256, (count + count // 100, 40, 50, 1), dtype=np.uint8)
    names = [f"{number:064x}" for number in range(len(images))]
    extract(backbone, ["layer3"], names[:count], images.__getitem__, settings, root=root / "a")
    before = backbone.images_passed
    started = time.perf_counter()
    grown = extract(backbone, ["layer3"], names, images.__getitem__, settings, root=root / "a")
    seconds = time.perf_counter() - started
    passed = backbone.images_passed - before
    cold = extract(backbone, ["layer3"], names, images.__getitem__, settings, root=root / "b")
    return {
        "images": count,
        "new": len(images) - count,
        "extracted": grown.extracted,
        "forwarded_with_filling": passed,
        "share": grown.extracted / len(images),
        "share_with_filling": passed / len(images),
        "seconds": seconds,
        "same_bytes_as_cold": grown.rows.tobytes() == cold.rows.tobytes(),
    }


def _damage(settings: Settings, root: Path) -> dict[str, Any]:
    """Flip one bit in one of several shards; only its images may be computed anew."""
    backbone, taps, count = backbone_of("cnn1", settings), ["layer1"], 6_000
    images = np.random.default_rng(SEED).integers(0, 256, (64, 40, 50, 1), dtype=np.uint8)
    names = [f"{number:064x}" for number in range(count)]

    def load(row: int) -> npt.NDArray[np.uint8]:
        return images[row % 64]

    before = extract(backbone, taps, names, load, settings, root=root).rows.tobytes()
    store = FeatureStore(root, feature_spec(backbone, taps))
    shard = sorted(store.shards.iterdir())[0]
    held = int((store.index["shard"] == shard.name).sum())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    again = extract(backbone, taps, names, load, settings, root=root)
    return {
        "images": count,
        "shards": len(list(store.shards.iterdir())),
        "in_the_damaged_shard": held,
        "recomputed": again.extracted,
        "share": again.extracted / held,
        "same_bytes": again.rows.tobytes() == before,
    }


def _peak_memory(folder: Path, count: int) -> int:
    root = folder / f"memory-{count}"
    root.mkdir()
    command = [sys.executable, "-c", _MEMORY_PROGRAM, str(count), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1])
    shutil.rmtree(root)
    return int(done.stdout.split()[-1])


def _bytes_per_image(settings: Settings, root: Path, count: int) -> list[dict[str, Any]]:
    """Measure what images take in the store, index and headers included, per tap and dtype."""
    result = []
    images = np.random.default_rng(SEED).integers(0, 256, (64, 40, 50, 1), dtype=np.uint8)
    names = [f"{number:064x}" for number in range(count)]
    backbone = backbone_of("cnn1", settings)
    for tap in backbone.taps:
        for dtype in ("float16", "float32"):
            found = extract(backbone, [tap], names, lambda row: images[row % 64], settings, dtype=dtype, root=root)
            info = found.store.info()
            width = backbone.taps[tap].flat
            result.append(
                {
                    "tap": f"cnn1 {tap}",
                    "dtype": dtype,
                    "width": width,
                    "row_bytes": width * (2 if dtype == "float16" else 4),
                    "bytes_per_image": info.bytes_per_image,
                }
            )
            shutil.rmtree(root)
    return result


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _scratch(settings: Settings) -> Path:
    settings.state.mkdir(parents=True, exist_ok=True)
    return settings.state


def _text(
    rates: dict[str, Any],
    grown: dict[str, Any],
    damage: dict[str, Any],
    memory: dict[int, int],
    sizes: list[dict[str, Any]],
) -> str:
    speed = [
        (
            case,
            *(round(found["images_per_second"][name]) for name in ("bare", "decoded", "files")),
            found["extraction_vs_backbone"],
            found["extraction_from_files_vs_backbone"],
        )
        for case, found in rates.items()
    ]
    head = ("backbone", "bare, images/s", "extraction, decoded", "extraction, files", "decoded / bare", "files / bare")
    return f"""{table(head, speed)}

`bare`: prepared batches of {BATCH} through the network, nothing else. `decoded`: images decoded before the clock
starts; resize, network, store. `files`: JPEG files from disk. CNN1 takes less time than decoding its image does, so
there decoding is the limit; it runs in the workers while the network computes. Ratios are medians of neighbouring runs.

After {grown["new"]} new images beside {grown["images"]:,}, {grown["extracted"]} passed the backbone
({grown["forwarded_with_filling"]} with the filling of the last batch) in {grown["seconds"]:.2f} s; rows equal a cold
extraction's to the byte: {grown["same_bytes_as_cold"]}. One flipped bit in one of {damage["shards"]} shards:
{damage["recomputed"]:,} of {damage["images"]:,} images computed anew ({damage["in_the_damaged_shard"]:,} were in it),
the same bytes: {damage["same_bytes"]}.

{table(("images", "peak memory, MiB"), [(f"{count:,}", round(peak / 2**20)) for count, peak in memory.items()])}

{table(("tap", "dtype", "features", "bytes of a row", "on disk per image"), [list(row.values()) for row in sizes])}
"""
