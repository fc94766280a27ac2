"""What `drillcore new` writes: a recipe for images of one's own, by what is known of them, and its card."""

from __future__ import annotations

CLASSIFIER = """\
# {title}
schema: 1
name: {name}
task: {task}
dataset:
  name: {dataset}
backbone:
{backbone}
representation:
  name: activations
  params: {{dtype: float16}}
head:
  name: {head}
seeds: {{train: 7, bootstrap: 11}}
evaluate:
  split: test
gate:
  metric: {metric}
  confidence: 0.95
  margin: 0.0
  max_class_drop: 0.15
  min_class_support: 20
  max_ms: 500
  max_mb: 1000
"""

TRAINING = """\
  train: {epochs: 60, patience: 15, batch: 32}   # trained once, then reused by later retrains
  refresh: 0.2             # train it anew once a fifth of the images is new to it"""

_DENSE = """\
# {title}
schema: 1
name: {name}
task: dense_labels
dataset:
  name: {dataset}
backbone:
  name: squeezenet1_0
  weights: IMAGENET1K_V1   # downloaded, or from drillcore weights add
  taps: [conv1, fire3, fire5, fire8, fire9]
representation:
  name: core_samples       # each tap, and the image, read at sampled pixels
  params:
    scales: [1, 0.5]
    sampling: {{method: class_balanced, pixels: 1000}}
    views: {{count: 2}}      # the image, and a variant: mirror, scale, contrast
head:
  name: dbn
  params: {{hidden: [256, 128], epochs: 8, dropout: 0.3}}
seeds: {{train: 7, bootstrap: 11}}
evaluate:
  split: test
gate:
  metric: mean_iou
  confidence: 0.95
  margin: 0.0
  max_class_drop: 0.15
  min_class_support: 5
  max_ms: 20000
  max_mb: 100
"""

_SEGMENTS = """\
# {title}
schema: 1
name: {name}
task: segments
dataset:
  name: {dataset}
backbone:
  name: "{backbone}"
  weights: "{weights}"
  taps: [blocks.2, blocks.4, blocks.6]
representation:
  name: binary_codes       # bits of each tap's cells, learnt without a label
  params:
    bits: [16, 24, 24]
    superpixels: {{method: egs, sigma: 0.8, k: 20.0, least: 50, half: true}}
    merge: {{method: hierarchy, level: 3.0, power: 0.2, colour: 1.0, edge: 0.25}}   # fewer segments: a higher level
head:
  name: none
seeds: {{train: 7, bootstrap: 11}}
evaluate:
  split: val               # what people drew there judges; nothing is learnt from it
gate:
  metric: covering
  confidence: 0.95
  margin: 0.0
  max_ms: 1000
  max_mb: 50
"""
# By the task of a layout: what the recipe opens with, and the recipe.
OTHERS = {
    "dense": ("A deep belief network on core samples of SqueezeNet, for the pixels of {}.", _DENSE),
    "segments": (
        "Segments of {} without a label: bits of a network's cells put superpixels together.",
        _SEGMENTS,
    ),
}

CARD = """\
# {name}

{title}
Made by `drillcore new` for the data set `{dataset}`: {images} images{classes} when it was made.

What it is for, who takes the images, and what it must not be used for: write it here.

Figures of each version: `drillcore report {name}`, with a page of its mistakes. They are measured on the split {split}
of the data set, which it has not learnt from; on images of another kind (camera, place, season) they are others.
"""
