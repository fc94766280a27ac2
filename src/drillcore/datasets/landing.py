"""The landing zone, `.drillcore/landing/<dataset>/`: imports are staged beside it and swapped in whole.

Nothing under `data/` is touched: `drillcore.datasets.ingest` brings a landing zone there.
"""

from __future__ import annotations

import contextlib
import filecmp
import re
from collections.abc import Sequence
from pathlib import Path

from drillcore.datasets.adapters.base import Choices
from drillcore.datasets.adapters.catalogue import ADAPTERS, PUBLISHED, TABLES
from drillcore.datasets.base import DatasetLayout, FoundItem
from drillcore.datasets.catalogue import DATASETS, get_layout
from drillcore.datasets.description import (
    FILE_NAME,
    SAMPLE_LINEAGE,
    Description,
    read_description,
    write_description,
)
from drillcore.datasets.import_result import ImportResult, fault_line, looked, reasons_of, taken_of
from drillcore.datasets.layouts.mask_folders import MasksLayout
from drillcore.datasets.left_out import FILE_NAME as LEFT_OUT
from drillcore.datasets.left_out import read_left_out, write_left_out
from drillcore.datasets.pointers import clear_refusal
from drillcore.datasets.staging import (
    adapted,
    bring,
    link_all,
    place_file,
    recover_imports,
    scratch,
    staging_folder,
    swap_in,
    told_in_one_line,
)
from drillcore.datasets.synthetic import SAMPLES, write_sample
from drillcore.errors import DataError, InputError, LayoutError, UnknownNameError
from drillcore.files import atomic_folder, read_object, write_json
from drillcore.plugins import LAYOUTS, names
from drillcore.settings import Settings

OWN_LAYOUTS = ("classes", "masks")  # layouts of one's own images: they need a name
NAMED_LAYOUTS = (*OWN_LAYOUTS, "voc", "bsds500", "msrc")  # those that images under a name of one's own may have
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_MAX_LINEAGE = 10**9 - 1  # a description has nine digits for it


def import_dataset(
    settings: Settings,
    name: str,
    source: Path,
    *,
    layout: str | None = None,
    append: bool = False,
    as_sample: bool = False,
    choices: Choices | None = None,
    dry_run: bool = False,
) -> ImportResult:
    """Bring a zip or folder, as its users download it, to the landing zone: whole, or not at all.

    Args:
        settings: where the landing zone is.
        name: a known data set, or with `layout` a name of one's own.
        source: the zip or folder; it is copied, never linked or changed.
        layout: "classes", "masks" or "voc" for images of one's own, or the tool that wrote their labels (`ADAPTERS`).
        append: extend the lineage there is, of the layout it has, with the images that are new; else a new lineage
            starts.
        as_sample: it is the synthetic sample.
        choices: what is said of another tool's source.
        dry_run: only look: what would be taken, and what left out.

    Raises:
        InputError: the name is refused, there is no such source, or it is no zip; nothing was changed.
        LayoutError: the source is laid out otherwise, or too many of its files would be set aside.
        DataError: the disk is full.
    """
    layout = layout or (name if name in PUBLISHED else None)
    adapter = ADAPTERS.get(layout or "")
    chosen = _layout_for(settings, name, layout if adapter is None else OWN_LAYOUTS[0])
    if choices is not None and choices.mask_suffix:
        if not isinstance(chosen, MasksLayout) or adapter is not None:
            raise InputError(f"--mask-suffix is for --layout masks; {layout or name} has none")
        chosen = MasksLayout(choices.mask_suffix)
    if choices is not None and choices.label_separator and adapter not in TABLES:
        raise InputError(f"--label-separator is for --layout csv or imagefolder; {layout or name} has none")
    recover_imports(settings)
    target = settings.landing / name
    with told_in_one_line(settings, name), adapted(settings, Path(source), adapter, choices) as (folder, ours, made):
        if made is not None:
            chosen = get_layout(made.layout)
        description = _description(settings, name, chosen, append=append, as_sample=as_sample)
        items = chosen.items(folder)
        items += made.odd if made is not None else []
        if dry_run:
            return looked(name, description.lineage, items)
        ready = staging_folder(settings) / name
        with atomic_folder(ready) as staged:
            if append:
                link_all(target, staged)
            added, odd = bring(items, staged, move=ours)
            _refuse_too_many(settings, source, odd, len(items))
            write_left_out(staged, read_left_out(staged) if append else [], odd)
            for extra, stored in chosen.extras(folder):
                place_file(extra, staged / stored, move=False)
            write_description(staged, description)
            images = _kept(get_layout(chosen.name), target, staged, items, odd) if append else added
        _remember_lineage(settings, name, description.lineage)
        swap_in(settings, name)
    clear_refusal(settings, name)
    return ImportResult(
        dataset=name,
        lineage=description.lineage,
        images=images,
        added=added,
        set_aside=len(odd),
        first=fault_line(odd[0]) if odd else "",
        composed=tuple(sorted({found for item in items if (found := item.label) and found != item.source.parent.name})),
        taken=taken_of(items, odd),
        left_out=reasons_of(odd),
    )


def _kept(
    layout: DatasetLayout, before: Path, staged: Path, items: Sequence[FoundItem], odd: Sequence[FoundItem]
) -> int:
    """Return how many images a data set has that was added to. Raises LayoutError: some would be passed over."""
    there = {item.path for item in layout.items(staged) if item.fault is None}
    wanted = {item.path for item in items} - {item.path for item in odd}
    with contextlib.suppress(LayoutError):  # nothing may be left of what was there
        wanted |= {item.path for item in layout.items(before) if item.fault is None}
    if lost := sorted(wanted - there):
        raise LayoutError(
            f"{len(lost):,} images would be passed over, the first {lost[0]}: where some name splits, those that name "
            "none do not belong; name splits in what is added as in what is there; nothing was imported"
        )
    return len(there)


def _refuse_too_many(settings: Settings, source: Path, odd: Sequence[FoundItem], count: int) -> None:
    """Refuse a source of which most would be set aside: it is another layout, or damaged, and no data set."""
    images = [item for item in odd if item.fault and item.fault[0] != "no_image"]
    if len(images) > 1 and len(images) > settings.quarantine_limit * count:
        raise LayoutError(
            f"{len(images):,} of {count:,} images of {source} would be set aside, more than "
            f"{settings.quarantine_limit:.1%} (DRILLCORE_QUARANTINE_LIMIT); nothing was imported; the first "
            f"{fault_line(images[0])}"
        )


def sample_datasets(settings: Settings, force: bool = False, names: Sequence[str] | None = None) -> list[ImportResult]:
    """Write the deterministic sample data sets to the landing zone.

    A data set that somebody imported under a sample's name is left alone, unless `force`.

    Raises:
        UnknownNameError: there is no such sample.
        DataError: the disk is full.
    """
    results = []
    recover_imports(settings)
    for name in SAMPLES if names is None else names:
        target = settings.landing / name
        there = read_description(target) if (target / FILE_NAME).is_file() else None
        if there is not None and there.lineage != SAMPLE_LINEAGE and not force:
            note = "your own import: left alone (--force replaces it by the sample)"
            images = len(get_layout(there.layout).items(target))
            results.append(ImportResult(dataset=name, lineage=there.lineage, images=images, added=0, note=note))
            continue
        with told_in_one_line(settings, name), scratch(settings) as folder:
            images = write_sample(name, folder)
            if there is not None and _same(get_layout(name), folder, target):
                results.append(
                    ImportResult(dataset=name, lineage=SAMPLE_LINEAGE, images=images, added=0, note="already there")
                )
                continue
            results.append(import_dataset(settings, name, folder, as_sample=True))
    return results


def _layout_for(settings: Settings, name: str, layout: str | None) -> DatasetLayout:
    if layout is None and name not in DATASETS and _NAME.fullmatch(name):
        # Images of one's own, imported before; of a landing zone that was emptied the last good version knows.
        for folder in (settings.landing / name, settings.data / name):
            if (folder / FILE_NAME).is_file():
                return get_layout(read_description(folder).layout)
    if layout is None:
        known = [known for known in DATASETS if known not in OWN_LAYOUTS]
        if name not in known:
            hint = (
                f"images of your own: drillcore data import --layout {'|'.join((*NAMED_LAYOUTS, *ADAPTERS))} NAME DIR"
            )
            raise UnknownNameError("data set", name, known, hint)
        return get_layout(name)
    if layout not in (allowed := names(LAYOUTS, NAMED_LAYOUTS)):
        raise UnknownNameError("layout", layout, [*allowed, *ADAPTERS])
    if not _NAME.fullmatch(name):
        raise InputError(
            f"data set name {name[:80]!r} is refused: 1 to 64 lower-case letters, digits and dashes are expected, "
            "not starting or ending with a dash"
        )
    if name in DATASETS:
        raise InputError(f"{name} is the name of a published data set or layout; choose another name for your images")
    return get_layout(layout)


def _description(settings: Settings, name: str, layout: DatasetLayout, *, append: bool, as_sample: bool) -> Description:
    if as_sample:
        return Description(layout=layout.name, lineage=SAMPLE_LINEAGE)
    target = settings.landing / name
    if append:
        if not (target / FILE_NAME).is_file():
            raise InputError(f"there is no data set {name} to append to; import it without --append")
        there = read_description(target)
        if there.lineage == SAMPLE_LINEAGE:
            raise InputError(f"{name} is the synthetic sample, nothing is appended to it; import without --append")
        if there.layout != layout.name:
            raise InputError(f"{name} has layout {there.layout}; --append with layout {layout.name} cannot extend it")
        return there
    number = 1 + _last_lineage(settings, name)
    return Description(layout=layout.name, lineage=f"import-{number}", split_seed=settings.seed)


def _lineage_path(settings: Settings, name: str) -> Path:
    return settings.state / "lineages" / f"{name}.json"


def _last_lineage(settings: Settings, name: str) -> int:
    """Return the highest lineage number ever given to a data set here; a number is never given twice."""
    numbers = [0]
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):
        last = int(read_object(_lineage_path(settings, name))["last"])
        numbers.append(last if 0 <= last < _MAX_LINEAGE else 0)
    for folder in (settings.landing / name, settings.data / name):
        with contextlib.suppress(DataError):
            lineage = read_description(folder).lineage
            numbers.append(0 if lineage == SAMPLE_LINEAGE else int(lineage.removeprefix("import-")))
    return max(numbers)


def _remember_lineage(settings: Settings, name: str, lineage: str) -> None:
    if lineage != SAMPLE_LINEAGE:
        write_json(_lineage_path(settings, name), {"last": int(lineage.removeprefix("import-"))})


def layout_of(settings: Settings, dataset: str) -> DatasetLayout:
    """Return the layout of a data set that is known or was imported.

    Raises:
        UnknownNameError: neither known nor imported.
    """
    if dataset not in DATASETS and (settings.landing / dataset).is_dir():
        return get_layout(read_description(settings.landing / dataset).layout)
    return get_layout(dataset)


def _same(layout: DatasetLayout, folder: Path, target: Path) -> bool:
    items = layout.items(folder)
    there = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    there -= {FILE_NAME, LEFT_OUT}
    pairs = [(item.source, item.path) for item in items]
    pairs += [(item.target, item.target_path) for item in items if item.target and item.target_path]
    pairs += layout.extras(folder)
    return there == {path for _, path in pairs} and all(
        filecmp.cmp(source, target / path, shallow=False) for source, path in pairs
    )
