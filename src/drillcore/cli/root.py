"""The root of the command line: names of the commands, where each one lives, and the options all of them share."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

from drillcore import __version__
from drillcore.errors import UnknownNameError
from drillcore.progress import set_quiet
from drillcore.project import ROOT_VARIABLE, named_root

# name: (module below drillcore.cli, attribute, one line of help). The help stands here so that `drillcore --help`
# imports none of them.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("init", "init", "Make a project of your own: recipes, settings, schedules, git, DVC."),
    "run": ("journey", "run", "The main job end to end on the bundled sample data."),
    "data": ("data", "data", "Import, sample and check data sets."),
    "new": ("new", "new", "Make a recipe for images of your own."),
    "check": ("check", "check", "Say whether recipes can be meant, with file, line and column."),
    "retrain": ("retrain", "retrain", "Train, evaluate, export, register and gate a model; --promote it."),
    "tune": ("tune", "tune", "Try values for what a recipe leaves open, judged on the validation images."),
    "evaluate": ("evaluate", "evaluate", "Score a registered model on labelled data it has never seen."),
    "score": ("score", "score", "Score a folder or list of images into Parquet."),
    "serve": ("serve", "serve", "Serve models online: a page, POST /predict, the Open Inference Protocol."),
    "predict": ("predict", "predict", "Answer for one image, on the terminal."),
    "fetch": ("fetch", "fetch", "Bring the promoted file here, by digest."),
    "models": ("models", "models", "List models, versions and aliases."),
    "report": ("report", "report", "Write one HTML page on a version: figures, gate, pictures, data, card."),
    "compare": ("compare", "compare", "Two versions side by side, on the same images."),
    "cluster": ("cluster", "cluster", "Which classes look alike to a model: a tree, neighbours, feature scores."),
    "explain": ("explain", "explain", "What in an image a model's strongest features respond to."),
    "similar": ("similar", "similar", "The images most like one, or the segments most like a part of it."),
    "label-next": ("label_next", "label_next", "Which unlabelled images are worth a label next."),
    "drift": ("drift", "drift", "Whether a model's answers are still those it was registered with."),
    "promote": ("models", "promote", "Make a version the champion, if the gate lets it."),
    "rollback": ("models", "rollback", "Put the previous champion back."),
    "history": ("models", "history", "Who moved which alias, when and why."),
    "sign": ("sign", "sign", "Sign a version's file, recipe and data digest."),
    "rebuild": ("rebuild", "rebuild", "Make a version again from code, data and recipe: the same bytes."),
    "export": ("export", "export", "Write a registered model's ONNX file."),
    "receipt": ("receipt", "receipt", "Check what a scoring run wrote."),
    "flows": ("flows", "flows", "Run the flows on schedules: Prefect server, deployments, workers."),
    "bench": ("bench", "bench", "Run a benchmark and write its report."),
    "weights": ("weights", "weights", "Named pretrained weights: list them, bring them from a file."),
    "doctor": ("doctor", "doctor", "Say what this machine and checkout have and lack."),
    "gc": ("gc", "gc", "Say what may go, and remove it."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table: the order of a first day's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"drillcore.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the known commands when one is not known."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="drillcore")
@click.option("--project", metavar="DIR", help="The project; default: DRILLCORE_ROOT, else the nearest above.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bars.")
def cli(project: str | None, quiet: bool) -> None:
    """Drill cores through a pretrained network, train a light head on them, ship one ONNX file.

    \b
    Begin a project and try it on the bundled sample data:
      drillcore init plankton
      cd plankton
      drillcore run
    or with your own folder of classes:
      drillcore data import --layout classes shells ~/shells
      drillcore new shells-lite
      drillcore retrain shells-lite --promote
      drillcore score shells-lite ~/new-images scored/
    """
    if project is not None:
        os.environ[ROOT_VARIABLE] = str(named_root(Path(project)))  # for the programs that are started, too
    if quiet:
        set_quiet(True)
