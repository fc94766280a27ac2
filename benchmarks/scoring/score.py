"""`drillcore bench score`: the batch scorer against bare onnxruntime, the forest against scikit-learn, memory, scale.

The images are drawn here and the weights are random, so that the benchmark needs no data set. Bare onnxruntime gets the
decoded images in the very batches that the scorer makes, in the faster of two ways: one session with all cores, or as
many threads as cores on a session of one thread.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import facts, table, write_report
from benchmarks.scoring.drawn_models import SEED, FittedForest, forest_model, served_model
from benchmarks.scoring.scale import long_run, scale_text, two_workers
from benchmarks.store import draw_images
from drillcore.runtime.batch.planning import pad_batch, plan_batches
from drillcore.runtime.batch.scoring import DEFAULT_BATCH, MAX_PADDING
from drillcore.runtime.batch.windows import WINDOW_ROWS
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score

# name: backbone, tap, resize, trees, drawn rows the forest is fitted on
MODELS: dict[str, tuple[str, str, list[int] | None, int, int]] = {
    "plankton": ("cnn1", "layer3", None, 400, 8_000),
    "squeezenet": ("squeezenet1_0", "fire9", [160, 160], 20, 300),
}
_CANVAS = 2**24
# Sampled: ru_maxrss of a child counts what its parent held before the child's program began.
_MEMORY_PROGRAM = """
import contextlib, sys, threading, time
from pathlib import Path
import psutil
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
settings, peak, done = Settings.load(Path(sys.argv[1])), 0, False
def watch():
    global peak
    while not done:
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process()
            peak = max(peak, sum(each.memory_info().rss for each in (own, *own.children())))
        time.sleep(0.02)
thread = threading.Thread(target=watch)
thread.start()
score(settings, resolve(settings, "plankton"), Path(sys.argv[2]), Path(sys.argv[3]), device="cpu")
done = True
thread.join()
print(peak / 2**20)
"""


def run(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    counts = {"plankton": 256, "squeezenet": 64} if quick else {"plankton": 6_000, "squeezenet": 1_500}
    rounds = 1 if quick else 3
    settings.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-score-", dir=settings.state) as name:
        own = replace(settings, root=Path(name), state=Path(name) / ".drillcore", device="cpu")
        paths = draw_images(own.root / "images", max(counts.values()))
        rates, forests, models = {}, {}, {}
        for case, (backbone, tap, resize, trees, rows) in MODELS.items():
            size = (20, min(rows, 600)) if quick else (trees, rows)
            models[case], forests[case] = served_model(own, case, backbone, tap, resize, *size)
            rates[case] = _rates(own, models[case], paths[: counts[case]], rounds)
        forest = _forest(forests["plankton"], quick=quick)
        sizes = (200, 2_000) if quick else (2_000, 20_000)
        memory = {size: _peak_memory(own, paths, size) for size in sizes}
        workers = two_workers(own, models["squeezenet"], models["plankton"], paths, counts["squeezenet"], rounds)
        long = long_run(own, models["plankton"], 9_000 if quick else 100_000)
    small, large = memory.values()
    figures = {
        "score_vs_onnxruntime": rates["squeezenet"]["score"] / rates["squeezenet"]["onnxruntime"],
        "forest_single_speedup": forest["sklearn_single_s"] / forest["onnx_single_s"],
        "forest_batch_speedup": forest["sklearn_batch_s"] / forest["onnx_batch_s"],
        "peak_memory_ratio_10x": large / small,
        "decode_bound_share": rates["plankton"]["score"] / rates["plankton"]["shared_cores_bound"],
        "dask_two_workers_speedup": workers["speedup"],
        "images_100k_per_second": long["images_per_second"],
        "images_100k_memory_growth": long["growth"],
    }
    raw = {"rates": rates, "forest": forest, "memory_mib": {str(size): value for size, value in memory.items()}}
    raw |= {"workers": workers, "long_run": long}
    if quick:
        return {**figures, **facts({"images": SEED, "weights": SEED}), "raw": raw}
    text = f"{_text(rates, forest, memory)}\n\n{scale_text(workers, long, rates)}"
    return write_report("score", figures, raw, text, seeds={"images": SEED, "weights": SEED})


def _rates(settings: Settings, model: ServedModel, paths: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Measure images a second of decoding alone, of bare onnxruntime and of `score`, in interleaved rounds."""
    listing = settings.root / f"{model.model}.txt"
    listing.write_text("\n".join(map(str, paths)))
    channels = open_model(model.path, threads=1).metadata.channels
    images = _decoded(settings, channels, paths)
    batches = _batches(images)
    canvas = sum(batch[0].size for batch in batches) / sum(image.size for image in images)
    bare = _bare_runners(settings, model, batches)
    times: dict[str, list[float]] = {"decode": [], "score": [], "open": [], **{name: [] for name in bare}}
    for number in range(rounds + 1):  # the first round warms up
        output = settings.root / f"{model.model}-{number}"
        opening = _time(lambda: open_model(model.path, sha256=model.sha256, threads=1))
        taken = {
            "open": opening,
            "score": _time(lambda target=output: score(settings, model, listing, target, device="cpu")) - opening,
            "decode": _time(lambda: _decoded(settings, channels, paths)),
            **{name: _time(runner) for name, runner in bare.items()},
        }
        if number:
            for name, seconds in taken.items():
                times[name].append(seconds)
    rate = {name: len(paths) / statistics.median(seconds) for name, seconds in times.items() if name != "open"}
    best = max(rate[name] for name in bare)
    return {
        **rate,
        "images": len(paths),
        "onnxruntime": best,
        # Decoding and the network share the same cores: more than this no scheduler can give.
        "shared_cores_bound": 1 / (1 / best + 1 / rate["decode"]),
        "canvas_pixels_per_image_pixel": canvas,
        "seconds": times,
    }


def _decoded(settings: Settings, channels: int, paths: Sequence[Path]) -> list[Any]:
    with DecodePool(channels, max_pixels=settings.max_pixels, workers=settings.decode_workers) as pool:
        return [item.image for items in pool.stream(map(str, paths)) for item in items]


def _batches(images: Sequence[Any]) -> list[tuple[Any, Any]]:
    batches: list[tuple[Any, Any]] = []
    for start in range(0, len(images), WINDOW_ROWS):
        window = images[start : start + WINDOW_ROWS]
        sizes = np.array([image.shape[:2] for image in window], np.int32)
        groups = plan_batches(sizes, batch=DEFAULT_BATCH, waste=MAX_PADDING - 1, max_pixels=_CANVAS)
        batches.extend(pad_batch([window[row] for row in rows]) for rows in groups)
    return batches


def _bare_runners(
    settings: Settings, model: ServedModel, batches: Sequence[tuple[Any, Any]]
) -> dict[str, Callable[[], None]]:
    import onnxruntime

    def session(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])

    whole, single, names = session(settings.cpu_threads), session(1), ["label", "probabilities"]

    def all_cores() -> None:
        for canvas, sizes in batches:
            whole.run(names, {"images": canvas, "sizes": sizes})

    def side_by_side() -> None:
        with ThreadPoolExecutor(settings.cpu_threads) as pool:
            list(pool.map(lambda batch: single.run(names, {"images": batch[0], "sizes": batch[1]}), batches))

    return {"onnxruntime_all_cores": all_cores, "onnxruntime_side_by_side": side_by_side}


def _forest(forest: FittedForest, *, quick: bool) -> dict[str, Any]:
    """Measure one row and 1,000 rows: the ONNX forest, and scikit-learn with the faster of n_jobs 1 and 2."""
    import onnxruntime

    data = forest_model(forest.head)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    some = np.random.default_rng(SEED + 1).normal(0, 1, (1000, forest.head.n_features_in_)).astype(np.float32)
    difference = np.abs(session.run(None, {"rows": some})[0] - forest.estimator.predict_proba(some)).max()
    trees = forest.head.trees_
    result: dict[str, Any] = {"trees": trees.count, "nodes": len(trees.feature), "mib": len(data) / 2**20}
    result["max_difference"] = float(difference)
    for name, batch, repeats in (("single", some[:1], 3 if quick else 20), ("batch", some, 2 if quick else 7)):
        times = {"onnx": _median(lambda part=batch: session.run(None, {"rows": part}), 5 * repeats)}
        for jobs in (1, 2):
            forest.estimator.n_jobs = jobs
            times[f"sklearn_{jobs}"] = _median(lambda part=batch: forest.estimator.predict_proba(part), repeats)
        result |= {f"{key}_{name}_s": value for key, value in times.items()}
        result[f"sklearn_{name}_s"] = min(times["sklearn_1"], times["sklearn_2"])
    return result


def _peak_memory(settings: Settings, paths: Sequence[Path], count: int) -> float:
    """Return the peak of a scoring process and its decoders together, in MiB."""
    listing = settings.root / f"memory-{count}.txt"
    listing.write_text("\n".join(str(paths[number % len(paths)]) for number in range(count)))
    command = [sys.executable, "-c", _MEMORY_PROGRAM, str(settings.root), str(listing), str(listing.with_suffix(""))]
    checkout = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=checkout)
    return float(done.stdout)


def _time(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _median(action: Callable[[], Any], repeats: int) -> float:
    action()
    return statistics.median(_time(action) for _ in range(repeats))


def _text(rates: dict[str, Any], forest: dict[str, Any], memory: dict[int, float]) -> str:
    names = ("score", "onnxruntime", "decode", "shared_cores_bound")
    rows = [(case, value["images"], *(round(value[name]) for name in names)) for case, value in rates.items()]
    timing = [
        (name, *(f"{1e3 * forest[f'{key}_{name}_s']:,.3f}" for key in ("onnx", "sklearn_1", "sklearn_2")))
        for name in ("single", "batch")
    ]
    parts = [
        "## Images a second, end to end",
        table(("model", "images", *names), rows),
        "`score` reads, decodes, infers and writes (opening the model is taken off); `onnxruntime` is the bare rate on "
        "the same decoded batches, "
        "`decode` reading and decoding alone on all cores. Both share the cores, so `shared_cores_bound` is the most "
        "that is possible. `score_vs_onnxruntime` is taken on squeezenet, where decoding is not the limit; for "
        "plankton, images of a kilobyte under a tiny network, it is: `decode_bound_share` compares with the bound.",
        f"## The forest alone: {forest['trees']} trees, {forest['nodes']:,} nodes, {forest['mib']:.0f} MiB",
        table(("rows", "ONNX, ms", "scikit-learn n_jobs 1, ms", "n_jobs 2, ms"), timing),
        f"Single is one row, batch 1,000. Largest difference of a probability: {forest['max_difference']:.1e}.",
        "## Memory",
        table(("images", "peak of all processes, MiB"), [(size, round(value)) for size, value in memory.items()]),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Run it from a checkout: `python benchmarks/scoring/score.py`."""
    settings = Settings.load()
    for name, value in run(settings, quick="--quick" in sys.argv[1:]).items():
        if isinstance(value, float):
            print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    main()
