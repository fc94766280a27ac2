"""Runs the suites with Great Expectations and writes its Data Docs."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillcore.files import atomic_folder
from drillcore.quality.data_docs import make_offline
from drillcore.quality.frames import Facts, class_frame, image_frame, set_frame
from drillcore.quality.near_duplicates import near_splits
from drillcore.quality.observed import row_of
from drillcore.quality.outcome import QualityReport, QualityRow
from drillcore.quality.quick import judge
from drillcore.quality.suites import Expected, expectations
from drillcore.quality.thresholds import limits_of
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_SITE = "docs"


def validate(settings: Settings, facts: Facts, *, docs: bool = True, quick: bool = False) -> QualityReport:
    """Judge a data set's manifest.

    Args:
        settings: the set-aside limit, and where Data Docs go: `<state>/data-docs/<dataset>/`.
        facts: the manifest's rows and what is known about them.
        docs: also write Data Docs.
        quick: the same verdict without Great Expectations and Data Docs; near duplicates are looked for only where they
            could refuse the data set.

    Raises:
        OSError: Data Docs cannot be written.
    """
    limits = limits_of(facts.layout)
    if quick and limits.near_duplicate_share >= 1:
        limits = replace(limits, near_duplicates=False)
    images = image_frame(facts, near_splits(settings, facts, limits) if limits.near_duplicates else None)
    frames = {"images": images, "classes": class_frame(facts), "set": set_frame(facts, images)}
    expected = expectations(facts, limits, settings.quarantine_limit)
    if quick:
        return QualityReport(dataset=facts.dataset, layout=facts.layout, results=tuple(judge(frames, expected)))
    if not docs:
        return QualityReport(
            dataset=facts.dataset, layout=facts.layout, results=tuple(_run(facts.dataset, frames, expected, None))
        )
    target = settings.state / "data-docs" / facts.dataset
    with atomic_folder(target) as folder:
        results = _run(facts.dataset, frames, expected, folder)
        make_offline(folder)
    docs_page = target / "index.html"
    return QualityReport(dataset=facts.dataset, layout=facts.layout, results=tuple(results), docs=docs_page)


def _run(
    dataset: str, frames: dict[str, pd.DataFrame], expected: Sequence[Expected], folder: Path | None
) -> list[QualityRow]:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is imported
    with _silenced():
        import great_expectations as gx

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
        if folder is not None:
            context.add_data_docs_site(site_name=_SITE, site_config=_site(folder))
        actions = [] if folder is None else [gx.checkpoint.UpdateDataDocsAction(name=_SITE, site_names=[_SITE])]
        source = context.data_sources.add_pandas(dataset)
        rows = []
        for name, frame in frames.items():
            chosen = [item for item in expected if item.frame == name]
            batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
            suite = gx.ExpectationSuite(
                name=f"{dataset}-{name}",
                expectations=[_expectation(gx, item, index) for index, item in enumerate(chosen)],
            )
            definition = gx.ValidationDefinition(name=f"{dataset}-{name}", data=batch, suite=context.suites.add(suite))
            checkpoint = gx.Checkpoint(
                name=f"{dataset}-{name}",
                validation_definitions=[context.validation_definitions.add(definition)],
                actions=actions,
                result_format={"result_format": "SUMMARY", "unexpected_index_column_names": _index_columns(name)},
            )
            result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
            [outcome] = result.run_results.values()
            rows += [_row(one, chosen, frame) for one in outcome.results]
    order = {item.words: index for index, item in enumerate(expected)}
    return sorted(rows, key=lambda row: order[row.expectation])


def _index_columns(frame: str) -> list[str]:
    return {"images": ["path"], "classes": ["label"]}.get(frame, [])


def _expectation(gx: Any, item: Expected, index: int) -> Any:
    about = {"column": item.column} if item.column else {}
    return getattr(gx.expectations, item.kind)(**about, notes=item.words, meta={"index": index}, **item.options)


def _row(result: Any, chosen: Sequence[Expected], frame: pd.DataFrame) -> QualityRow:
    item = chosen[int(result.expectation_config.meta["index"])]
    found = result.result or {}
    values = found.get("partial_unexpected_list") or []
    rows = [row for row in found.get("partial_unexpected_index_list") or [] if isinstance(row, dict)]
    names = [next((str(row[key]) for key in ("path", "label") if key in row), "") for row in rows]
    offenders = list(zip(names or [""] * len(values), values, strict=False))
    return row_of(item, frame, bool(result.success), int(found.get("unexpected_count", 0)), offenders)


def _site(folder: Path) -> dict[str, object]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
    }


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
