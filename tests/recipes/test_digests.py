"""The digests of the recipes that ship, and of those the samples use: a run is found again by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.recipes import read_recipe

MODELS = Path(__file__).resolve().parents[2] / "models"
DIGESTS = {
    "baeri": "d82e3f2d6c36c1862540480e8c408f61565a66f8273736811bae68fbc13beb55",
    "camvid": "e5b73ad91baf4895d43b48c1ed1c5749877085204d33c5de2be2398552d070ff",
    "camvid-squeezenet": "775363afc3885ec318ebc4ae79174ff5e6b9720aa050235f9c9517a1c7d9f448",
    "camvid-vgg16": "49e59ea528339ae3074ae4bd548e7db2091656f814503fc91831357c7fa4baea",
    "colorize": "de367cc511d3e81a9bf704360bd44829467ddea62b8e1995556a043aaba5accd",
    "midlevel-voc": "81bc671f15d7137139fbb6032f2e0feefbe2632e8f53a5494518715c3f5d2e62",
    "voc-linear": "3131da8da6062e5d403aeabb1d06323623f2f0330b5ffb5d9bc4765881ee64cc",
    "midlevel": "159a642cf2989e59fe77ec1afb1351336538aa5949301d9f0203ade3dfe314c5",
    "binary-map": "398eeca489071f427ea2632589e44ee7a721958a871f06c26a34a7cbddbb148c",
    "flowers-cross-pooling": "8fd60d3900c75769e74f44a6be2778b0e597140da74f02b714a5af669c6aff55",
    "plankton-cross-pooling": "ac95516a0d586890bab37489d360b93f05c3f75d38c76da57ae7ae1ef513de49",
    "plankton": "a77b505f515543b9477e0c3fc943b555990604a183b20611202ebe3b6131c90b",
    "plankton-lite": "44710d86393c9d23b72b278c34c17dd71079d255f27edce4376e11f2989008e2",
    "plankton-forest": "87f99f221171540b461332903da677150128f4b6ec51c4c77242cd18478a0cba",
}
# Every kind of value a recipe may hold, with defaults left out and spelled out.
LEAST = """\
schema: 1
name: least
task: classification
dataset: {name: plankton}
backbone: {name: cnn1, taps: [layer3]}
head: {name: forest}
"""
MOST = """\
schema: 1
name: most
task: dense_labels
dataset: {name: camvid, params: {}}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [conv1], train: {epochs: 2, sizes: [[1, 64]]}, refresh: 1}
representation: {name: core_samples, params: {weighted: 1, dtype: float32, when: 2024-01-02, nothing: null, yes: no}}
head: {name: dbn, params: {hidden: [24], l2: 1e-2, class_weight: {0: 2, 1: 0.5}}}
augment: {name: none}
seeds: {train: 3, bootstrap: 4}
evaluate: {split: val, metrics: [accuracy, mean_iou]}
gate: {metric: ship_iou, confidence: 0.9, margin: 0, max_class_drop: 1, min_class_support: 2, max_ms: 1, max_mb: 2}
export: {batch: dynamic, dense_mode: fast}
"""


@pytest.mark.parametrize("name", DIGESTS)
def test_a_shipped_recipe_keeps_its_digest(name: str) -> None:
    assert read_recipe(MODELS / f"{name}.yaml").sha256 == DIGESTS[name]


def test_every_shipped_recipe_is_pinned() -> None:
    assert {path.stem for path in MODELS.glob("*.yaml")} == DIGESTS.keys()


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (LEAST, "a0e748d02269dc9bc476e84a94eeeebe5d762269db7e8028508c1c65671655a1"),
        (MOST, "f0bf6d41af5cbd70a72e55cd075b1001e1bd25464bdb02b1abf33e9f22d2c7a5"),
    ],
    ids=["least", "most"],
)
def test_any_recipe_keeps_its_digest(tmp_path: Path, text: str, digest: str) -> None:
    path = tmp_path / f"{text.split('name: ')[1].split()[0]}.yaml"
    path.write_text(text)
    assert read_recipe(path).sha256 == digest
