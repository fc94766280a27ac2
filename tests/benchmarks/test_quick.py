"""The small version of every benchmark runs and gives the figures by their names; their values are no claim here."""

from __future__ import annotations

import importlib
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.cli.bench import BENCHES
from drillcore.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
FIGURES = {
    "dense": [
        "exact_speedup",
        "refined_speedup",
        "fast_speedup",
        "exact_label_agreement",
        "refined_label_agreement",
        "fast_class_average_loss",
        "vgg16_exact_vs_backbone",
        "vgg16_fast_vs_backbone",
    ],
    "store": ["extraction_vs_backbone", "plus_one_percent_forward_share"],
    "workers": ["two_workers_speedup", "two_workers_cpu_speedup", "driver_ms_per_image"],
    "score": [
        "score_vs_onnxruntime",
        "forest_single_speedup",
        "forest_batch_speedup",
        "peak_memory_ratio_10x",
        "dask_two_workers_speedup",
        "images_100k_per_second",
        "images_100k_memory_growth",
    ],
    "cross-pooling": [
        "pooling_vs_backbone",
        "file_pooling_vs_backbone",
        "gram_vs_matmul",
        "cl45c_minus_global",
        "cl45c_minus_global_low",
    ],
    "similar": ["recall_at_10", "milliseconds_per_query", "megabytes_per_million", "cosine_milliseconds"],
    "backbones": ["networks", "families", "max_difference"],
    "retrain": ["unchanged_seconds", "plus_one_percent_extraction_share"],
    "ships": ["core_samples_ship_iou", "cfar_ship_iou", "segnet_ship_iou", "threshold_ship_iou", "all_sea_ship_iou"],
    "cores": [
        *(
            f"streets_{name}_mean_iou"
            for name in ("base", "random", "image_only", "low", "high", "linear", "all_images")
        ),
        *(f"ships_{name}_ship_iou" for name in ("base", "random", "image_only", "low", "high", "linear")),
    ],
    "dbn": ["rbm_time_vs_sklearn", "rbm_pseudo_likelihood_gain", "finetune_vs_bare_mlp"],
    "plankton-paper": [
        *(f"{network}_accuracy" for network in ("cnn1", "cnn2", "cnn3", "cnn3_no_dropout", "cnn3_all_layers", "bag")),
        *(f"cnn1_layer{layer}_{stage}" for layer in range(5) for stage in ("forest", "one_vs_rest", "one_vs_one")),
        *(f"cnn2_layer{layer}_{stage}" for layer in range(7) for stage in ("forest", "one_vs_rest", "one_vs_one")),
        *(f"cnn3_layer{layer}_{stage}" for layer in range(4) for stage in ("forest", "one_vs_rest", "one_vs_one")),
        *(f"cnn1_layer{layer}_significant_share" for layer in range(5)),
        "dropout_time_ratio",
        "forest_bytes",
        "tree_family_features",
    ],
    "heads": [
        "forest_training_speedup",
        "svm_training_speedup",
        "extra_trees_training_speedup",
        "forest_accuracy_difference",
        "forest_prediction_speedup",
    ],
    "binary-map": ["ours_minus_best_baseline", "covering_ods", "hconv8_vs_backbone", "images_per_second"],
    "patches": ["pyramid_speedup", "pyramid_vs_pixel_ratio", "pyramid_map_loss", "patches_minus_whole_image"],
    "label-next": ["gain_over_random"],
    "drift": ["detection_rate", "false_alarm_rate", "scoring_cost_share"],
    "few": ["accuracy_minus_probe", "accuracy_minus_probe_least", "accuracy_minus_forest"],
    "int8": ["int8_speedup", "int8_speedup_single", "int8_bytes_ratio"],
    "import": ["images_per_second", "peak_memory_bytes", "append_share", "dvc_share", "time_growth"],
    "serve": ["serve_vs_onnxruntime", "p99_vs_batch_latency", "vs_mlflow", "vs_litserve"],
}

# Section, and picture in it, that a report must have.
PICTURES = {
    "plankton-paper": [("Figures 8 and 10: what the strongest features respond to", "class-features.png")],
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(BENCHES))
def test_quick(settings: Settings, name: str) -> None:
    shutil.copytree(CHECKOUT / "models", settings.models, dirs_exist_ok=True)
    results = CHECKOUT / "benchmarks" / "results"
    before = {path: path.stat().st_mtime_ns for path in results.glob("*")}
    found = importlib.import_module(f"benchmarks.{BENCHES[name]}").run(settings, quick=True)
    for figure in FIGURES[name]:
        assert math.isfinite(found[figure]), figure
        assert found[figure] >= 0 or "_minus_" in figure or figure.endswith(("_loss", "_baseline", "_random")), figure
    for section, picture in PICTURES.get(name, ()):
        own = settings.state / "benchmarks" / f"{name}-quick" / "results"
        text = (own / f"{name}.md").read_text(encoding="utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
        assert f"]({name}/{picture})" in text
        with Image.open(own / name / picture) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 50, "projections have many levels of grey"
    assert {"machine", "versions", "seeds", "date", "raw"} <= set(found)
    assert {path: path.stat().st_mtime_ns for path in results.glob("*")} == before, "a quick run writes no report"


def test_every_benchmark_is_a_script_with_figures() -> None:
    assert set(FIGURES) == set(BENCHES)
    for name in BENCHES.values():
        assert (CHECKOUT / "benchmarks" / f"{name.replace('.', '/')}.py").is_file()
