"""`drillcore data forget`: images out of everything that is kept of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.digests import sha256_file
from drillcore.errors import InputError

if TYPE_CHECKING:
    from drillcore.upkeep.forgetting_landed import Place


@click.command()
@click.argument("images", metavar="DIGEST|FILE...", nargs=-1, required=True)
@click.option(
    "--scored",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    help="An output of score, or a folder of them, beside .drillcore/scored; may be given again.",
)
@click.option("--yes", is_flag=True, help="Remove it; without, what would be removed is said.")
@json_option
def forget(images: tuple[str, ...], scored: tuple[Path, ...], yes: bool, as_json: bool) -> None:
    """Take images out of the landing zone, all versions of the data, features, inboxes and scored outputs, for good.

    Each is named by the SHA-256 of its file, or by a copy of the file. Without --yes nothing is changed. A record says
    what was removed and which models have learnt from it. A call that was killed is finished by the next one.

    \b
    Example:
      drillcore data forget 0a7b...64 digits
      drillcore data forget withdrawn/*.jpg --scored /archive/scored --yes
    """
    settings = begin(as_json=as_json)
    from drillcore.upkeep import forgetting, forgetting_records
    from drillcore_serving.batch.forgetting import find_outputs, forget_in_output, outputs_of

    digests = {sha256_file(Path(one)) if Path(one).is_file() else forgetting.check_digest(one) for one in images}
    with forgetting.alone(settings) if yes else contextlib.nullcontext():
        left = forgetting_records.unfinished(settings)
        plan = forgetting.plan_forgetting(settings, digests | left)
        folders = [*outputs_of(settings, scored), *forgetting_records.unfinished_outputs(settings)]
        found = {held.root.resolve(): held for folder in folders for held in find_outputs(folder, plan.digests)}
        outputs = list(found.values())
        seen = {digest for held in outputs for digest in held.digests}
        unknown = digests - plan.known - seen - forgetting_records.recorded(settings)
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise InputError(
                f"no image of digest {min(unknown)}{more} is known here: neither a data set, an inbox nor a scored "
                "output has it; nothing was changed"
            )
        told = [
            {"output": str(held.root.resolve()), "batches": list(held.batches), "rows": held.rows} for held in outputs
        ]
        record = None
        if yes:
            record = forgetting.begin(settings, plan, told)
            forgetting.forget_copies(settings, plan)
            for held in outputs:
                forget_in_output(settings, held, plan.digests)
            forgetting.forget_current(settings, plan)
            forgetting_records.end_records(settings, plan.digests)
    if as_json:
        print_json({**plan.to_dict(), "outputs": told, "done": yes, "record": str(record) if record else None})
        return
    versions = sorted({(one.model, one.version) for one in plan.learnt if one.split == "train"})
    print_table(
        f"{len(plan.digests):,} images {'are forgotten' if yes else 'would be forgotten; --yes does it'}",
        ("of", "what"),
        [
            ("data sets", ", ".join(f"{name}: {count}" for name, count in _by_dataset(plan.places)) or "-"),
            ("files in versions of the data", f"{len(plan.objects):,}"),
            ("features", f"{plan.features:,}"),
            ("files in inboxes", f"{len(plan.inbox):,}"),
            ("rows of scored outputs", f"{sum(held.rows for held in outputs):,} in {len(outputs):,}"),
            ("pages with pictures", ", ".join(plan.pages) or "-"),
            ("models that have learnt from them", ", ".join(f"{name}@{number}" for name, number in versions) or "-"),
        ],
    )
    for text in plan.unseen:
        click.echo(f"not looked into, and not removed: {text}")
    if left - digests:
        click.echo(f"{len(left - digests):,} of them were begun before and not finished")
    if record is not None:
        click.echo(f"record: {shown(settings, record)}")
        if plan.places:
            say_uncommitted(settings, settings.root / "data.dvc", why="Images that are forgotten")
        if versions:
            click.echo("these versions cannot be rebuilt any more; retrain, so that none of them serves")


def _by_dataset(places: Sequence[Place]) -> list[tuple[str, int]]:
    return sorted(Counter(place.dataset for place in places).items())
