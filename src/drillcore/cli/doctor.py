"""`drillcore doctor`: what this machine and checkout have and lack."""

from __future__ import annotations

import dataclasses

import click

from drillcore.cli.session import begin, json_option, print_json, print_table
from drillcore.errors import DrillcoreError


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look at versions, GPU and providers, disk, state, registry, data and remote; non-zero exit on a failure.

    \b
    Example:
      drillcore doctor
    """
    settings = begin(as_json=as_json)
    from drillcore.upkeep.doctor import FAILURE, examine

    findings = examine(settings)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print_table("", ("what", "standing", "found"), [(f.subject, f.standing, f.text) for f in findings])
    if failures := [finding for finding in findings if finding.standing == FAILURE]:
        raise DrillcoreError(f"{len(failures)} of {len(findings)} checks failed: {failures[0].text}")
