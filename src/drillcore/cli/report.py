"""`drillcore report`: one self-contained HTML page on a registered version."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json, shown
from drillcore.errors import InputError
from drillcore.files import write_text


@click.command()
@click.argument("model")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The page; default reports/ in the state folder."
)
@click.option("--open", "open_", is_flag=True, help="Show it in the browser afterwards.")
@json_option
def report(model: str, output: Path | None, open_: bool, as_json: bool) -> None:
    """Write a page on MODEL[@ALIAS|@VERSION]: figures beside the champion's, gate, pictures, data, origin, card.

    With it all versions over time, the last finding of `drift` (when it is of, and what was scored since) and the last
    choice of `label-next`; nothing of them is made anew. The page is one file that loads nothing from elsewhere.

    \b
    Example:
      drillcore report plankton-forest --output report.html
      drillcore report plankton-forest@challenger --open
    """
    settings = begin(as_json=as_json)
    from drillcore.analysis.reporting import gather_report
    from drillcore.pages.report_page import report_page

    if output and not output.resolve().parent.is_dir():
        raise InputError(f"no such folder for --output: {output.parent}")
    gathered = gather_report(settings, model)
    version = gathered.version
    target = output or settings.state / "reports" / f"{version.model}-{version.version}.html"
    write_text(target, report_page(gathered))
    if as_json:
        print_json(
            {"model": version.model, "version": version.version, "file": str(target), "figures": gathered.figures}
        )
    else:
        click.echo(f"{version.model} version {version.version}: {shown(settings, target)}")
    if open_:
        click.launch(target.resolve().as_uri())
