"""`drillcore tune`: values for what a recipe leaves open, found on the validation images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from drillcore.cli.session import begin, json_option, print_json, print_table, set_option, shown
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.errors import InputError
from drillcore.files import write_text

if TYPE_CHECKING:
    from drillcore.retrain.tuning.trials import Trial
    from drillcore.retrain.tuning.tuning import Tuned

_SHOWN = 5  # trials in the table


@click.command()
@click.argument("model")
@click.option("--trials", type=click.IntRange(1), default=20, help="How many, with those of earlier calls.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds after which no trial is begun.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Default: models/MODEL-tuned.yaml.")
@click.option("--overwrite", is_flag=True, help="Write over a recipe that is there.")
@set_option
@json_option
def tune(
    model: str,
    trials: int,
    timeout: float | None,
    out: Path | None,
    overwrite: bool,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Try values for what the recipe of MODEL leaves open of its head, and write a recipe with the best.

    A parameter is left open by `{range: [0.01, 100], log: true}` (whole numbers where both ends are) or
    `{choices: [sqrt, 0.1]}`, in the recipe or with --set. Heads learn from the training images and are judged on the
    validation images by the gate's metric; test images are not looked at. Features are made once, and values that come
    again are not fitted again. Each trial is a run in MLflow, below one for all; heads that learn in rounds are ended
    early where others were better. Killed and called again it goes on. Needs the extra `tune`.

    \b
    Example:
      drillcore tune shells-lite --trials 20 --set 'head.params.c={range: [0.0001, 1.0], log: true}'
      drillcore retrain shells-lite-tuned
    """
    settings = begin(as_json=as_json)
    from drillcore.recipes import building, load_recipe
    from drillcore.recipes.reading import is_model_name

    recipe = load_recipe(settings, model, changes)
    ranges = building.open_params(recipe)  # what is wrong is said before anything heavy is imported
    building.check_words(building.filled(recipe, {name: one.ends[0] for name, one in ranges.items()}))
    target = out or settings.models / f"{model}-tuned.yaml"
    if target.suffix != ".yaml" or not is_model_name(target.stem):
        raise InputError(f"--out {target}: NAME.yaml is expected, NAME of lower-case letters, digits and single dashes")
    if not target.absolute().parent.is_dir():
        raise InputError(f"no such folder for --out: {target.parent}")
    if target.exists() and not overwrite:
        raise InputError(f"{shown(settings, target)} is there already; --overwrite writes it anew, --out another one")
    from drillcore.retrain.tuning.tuning import Tuning

    def say(trial: Trial, found: Tuned) -> None:
        if not as_json:
            click.echo(_line(trial, found, trials))

    text = (settings.models / f"{model}.yaml").read_text(encoding="utf-8")  # as it is tuned, whatever becomes of it
    with Tuning(settings, model, changes) as tuning:
        done = tuning.run(trials, timeout=timeout, say=say)
    write_text(target, _text(text, model, target, changes, done))
    if as_json:
        print_json({**done.to_dict(), "recipe": str(target)})
        return
    finished = [one for one in done.trials if one.figure is not None]
    finished.sort(key=lambda one: (one.figure or 0.0) * (-1 if tuning.higher else 1))
    rows = [(one.number, one.figure, _values(one.values), f"{one.seconds:.1f} s") for one in finished[:_SHOWN]]
    print_table(f"the best of {len(done.trials)} trials", ("trial", done.metric, "values", "time"), rows)
    click.echo(f"{shown(settings, target)}: {model} with {_values(done.best.values)}")
    moved = (
        "" if target.absolute().parent == settings.models else f"move it to {shown(settings, settings.models)}, then "
    )
    click.echo(f"next: {moved}drillcore retrain {target.stem}")
    say_uncommitted(settings, target, why=f"The recipe {target.stem}")


def _line(trial: Trial, found: Tuned, trials: int) -> str:
    """Return what a trial gave in one line, and about how long the rest takes."""
    told = trial.state if trial.figure is None else f"{found.metric} {trial.figure:.4f}"
    told += f" {trial.note}" if trial.note else ""
    left = (trials - len(found.trials)) * found.seconds / max(found.new, 1)
    best = f"best {found.best.figure:.4f}, about {left:,.0f} s left"
    return f"trial {trial.number}: {told}   {_values(trial.values)}   ({best})"


def _values(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _text(text: str, model: str, target: Path, changes: tuple[str, ...], done: Tuned) -> str:
    """Return the recipe with the best values; of the old one's comments none is kept."""
    from drillcore.recipes.reading import changed_text

    open_fields = {f"head.params.{name}" for name in done.best.values}
    given = [change for change in changes if change.partition("=")[0] not in open_fields]
    given = [change for change in given if change.partition("=")[0] != "name"]
    given += [f"head.params.{name}={_as_yaml(value)}" for name, value in done.best.values.items()]
    first = (
        f"# {model}, its head tuned: {done.metric} {done.best.figure:.4f} on {done.images} validation images, the best "
        f"of {len(done.trials)} trials."
    )
    return changed_text(target, f"{first}\n{text}", [f"name={target.stem}", *given])[0]


def _as_yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n...\n").strip()
