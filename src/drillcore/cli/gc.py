"""`drillcore gc`: what may go, how much it is, and its removal."""

from __future__ import annotations

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove what a command can make anew: old run folders, unused features, fetched files nothing points at.

    Data, registered versions, histories and receipts are never touched.

    \b
    Example:
      drillcore gc --dry-run
    """
    settings = begin(as_json=as_json)
    from drillcore.upkeep.gc import collect, collectables, damaged

    unread = [shown(settings, path) for path in damaged(settings)]
    found = collectables(settings) if dry_run else collect(settings)
    total = sum(item.bytes for item in found)
    if as_json:
        rows = [{"kind": i.kind, "path": str(i.path), "bytes": i.bytes, "why": i.why} for i in found]
        print_json({"bytes": total, "removed": not dry_run, "items": rows, "damaged": unread})
        return
    rows_shown = [(i.kind, shown(settings, i.path), f"{i.bytes / 1e6:,.1f} MB", i.why) for i in found]
    if found:
        print_table("", ("kind", "path", "size", "why it may go"), rows_shown)
    for path in unread:
        click.echo(f"{path} is damaged: nothing of the kind that it names goes; fetch or retrain its model")
    verb = "may go" if dry_run else "removed"
    click.echo(f"{total / 1e6:,.1f} MB {verb} ({len(found)} items)")
