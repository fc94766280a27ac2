"""Segments without a label, from import to champion and what a user does with it, on drawn photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from drillcore.backbones.base import weights_bytes
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.synthetic import write_sample
from drillcore.digests import sha256_bytes
from drillcore.promotion.segment_gate import SegmentCandidate, gate_segments
from drillcore.retrain.evaluating import evaluate_source
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.model.served import resolve
from drillcore.runtime.segments.pictures import outlines
from drillcore.settings import Settings
from drillcore.tasks import GateLimits
from drillcore_serving.batch.score_batch import score

RECIPE = """\
schema: 1
name: parted
task: segments
dataset: {name: bsds500}
backbone: {name: squeezenet1_0, weights: WEIGHTS, taps: [conv1, fire3]}
representation:
  name: binary_codes
  params:
    bits: [8, 16]
    vectors: 4000
    rotations: 5
    superpixels: {least: 12}
    merge: {level: 0.3}
head: {name: none}
seeds: {train: 3, bootstrap: 3}
evaluate: {split: val}
gate: {max_ms: 100000}
"""


@pytest.mark.slow
def test_from_import_to_champion_to_segments_of_a_folder(tmp_path: Path, empty_mlflow: Path) -> None:
    root = tmp_path / "checkout"
    (root / "models").mkdir(parents=True)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    write_sample("bsds500", tmp_path / "bsds")
    write_sample("msrc", tmp_path / "msrc")
    import_dataset(settings, "bsds500", tmp_path / "bsds")
    data = weights_bytes(build_squeezenet(seed=3).module)  # random, from a file: people's data are no place for seeds
    (root / "random.safetensors").write_bytes(data)
    weights = f"random.safetensors#sha256={sha256_bytes(data)}"
    (settings.models / "parted.yaml").write_text(RECIPE.replace("WEIGHTS", f'"{weights}"'))
    with Retrain(settings, "parted", promote=True) as work:
        summary = work.run_all().to_dict()
    assert summary["status"] == "promoted", summary["reason"]
    folder = Path(summary["folder"])
    assert (folder / "pictures" / "examples.png").is_file()
    assert (folder / "state.safetensors").is_file()
    served = resolve(settings, "parted")

    figures = evaluate_source(settings, served, tmp_path / "bsds", "test").to_dict()
    assert figures["images"] == 2
    assert 0.3 < figures["covering_ods"] <= figures["covering_ois"] <= 1
    assert {"segmentation_iou", "probabilistic_rand_ods", "variation_of_information_ods"} < figures.keys()
    # Another layout of segments is another source for the same model.
    other = evaluate_source(settings, served, tmp_path / "msrc", None).to_dict()
    assert other["images"] == 12
    assert other["covering_ods"] > 0.3

    images = tmp_path / "bsds" / "BSDS500" / "data" / "images" / "val"
    result = score(settings, served, images, tmp_path / "out")
    assert (result.scored, result.set_aside) == (4, 0)
    verify(tmp_path / "out")
    rows = pq.ParquetFile(tmp_path / "out" / "part-00000.parquet").read().to_pylist()
    for row in rows:
        with Image.open(tmp_path / "out" / row["mask"]) as mask:
            assert mask.mode.startswith("I")
            found = np.asarray(mask)
        assert found.shape == (row["height"], row["width"])
        assert row["count"] == found.max() + 1 == len(row["segments"])
        for one in row["segments"]:
            x0, y0, x1, y1 = one["box"]
            inside = found[y0:y1, x0:x1] == one["segment"]
            assert inside.sum() == one["area"] == (found == one["segment"]).sum()
            assert len(one["code"]) == 3
        with Image.open(tmp_path / "out" / row["overlay"]) as drawn:
            seen = np.asarray(drawn)
        assert seen.shape == (*found.shape, 3)
        edge = outlines(found)
        assert np.abs(seen[edge].astype(int) - [255, 220, 0]).mean() < 80


def candidate(sums: object, version: int = 1) -> SegmentCandidate:
    return SegmentCandidate(
        sums=sums,  # type: ignore[arg-type]
        version=version,
        lineage="import-1",
        images=["a", "b", "c"],
        ms=1.0,
        mb=1.0,
        weights="file",
    )


def test_the_first_version_must_beat_the_whole_image_as_one_segment() -> None:
    limits = GateLimits(metric="covering")
    better = candidate(np.array([[60, 100, 30], [50, 100, 30], [55, 100, 30]], float))
    assert gate_segments(limits, better, None).passed
    worse = candidate(np.array([[20, 100, 30], [25, 100, 30], [55, 100, 60]], float))
    verdict = gate_segments(limits, worse, None)
    assert not verdict.passed
    assert "whole image as one segment" in verdict.summary


def test_a_challenger_must_cover_more_of_the_same_people_s_segments() -> None:
    limits = GateLimits(metric="covering")
    champion = candidate(np.array([[50, 100, 30]] * 3, float))
    assert gate_segments(limits, candidate(np.array([[60, 100, 30]] * 3, float), 2), champion).passed
    assert not gate_segments(limits, candidate(np.array([[50, 100, 30]] * 3, float), 2), champion).passed
