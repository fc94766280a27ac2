"""A data set as one HTML page: counts by class and split, sizes, what was set aside, some images of each class."""

from __future__ import annotations

from pathlib import Path

from drillcore.datasets.base import NONE, TEST, TRAIN, VAL
from drillcore.datasets.manifest import Manifest
from drillcore.json_types import Json
from drillcore.pages.html import Html, breakable, element, facts, join, page, section, table, write_page
from drillcore.pages.thumbnails import cards, image_card
from drillcore.settings import Settings

MAX_PICTURES, _OF_A_CLASS = 120, 6
_SPLITS = (TRAIN, VAL, TEST, NONE)
COLUMNS = ("class", *_SPLITS)


def facts_of(manifest: Manifest) -> Json:
    """Return a data set's counts and sizes as plain values."""
    found = manifest.table
    sides = {name: found[name].quantile([0, 0.5, 1]).astype(int).tolist() for name in ("width", "height")}
    return {
        "dataset": manifest.dataset,
        "lineage": manifest.lineage,
        "data_digest": manifest.digest,
        "layout": manifest.layout,
        "task": manifest.task,
        "channels": manifest.channels,
        "images": len(found),
        "splits": {name: int((found["split"] == name).sum()) for name in _SPLITS},
        "classes": class_counts(manifest),
        "sides": sides,  # least, median, most pixels
        "megabytes": round(float(found["bytes"].sum()) / 1e6, 1),
        "set_aside": {str(key): int(value) for key, value in manifest.quarantine["reason"].value_counts().items()},
    }


def class_counts(manifest: Manifest) -> list[dict[str, object]]:
    """Return how many images of each split a class has; an image counts for every class it holds."""
    counts = {name: dict.fromkeys(_SPLITS, 0) for name in manifest.classes}
    for split, labels in zip(manifest.table["split"], _labels(manifest), strict=True):
        for label in labels:
            counts[label][split] += 1
    if not any(sum(row.values()) for row in counts.values()):  # of pixels: only the training images were looked at
        for name, images in manifest.painted.items():
            counts[name][TRAIN] = images
    return [{"class": name, **row} for name, row in counts.items()]


def write_dataset(settings: Settings, manifest: Manifest, folder: Path) -> list[Path]:
    """Write `index.html` and `classes.csv`; return both."""
    told = facts_of(manifest)
    return write_page(folder, dataset_page(settings, manifest, told), "classes.csv", COLUMNS, told["classes"])


def dataset_page(settings: Settings, manifest: Manifest, told: Json) -> str:
    """Return the page, with up to six images of each class: those whose digests come first, whatever their names."""
    lead = f"{told['images']:,} images in {len(manifest.classes):,} classes, lineage {manifest.lineage}."
    header = join([element("h1", f"Data set {manifest.dataset}"), element("p", lead, class_="lead")])
    sides = [
        f"{name} {low:,} to {high:,}, half of them at most {half:,}"
        for name, (low, half, high) in told["sides"].items()
    ]
    about = facts(
        [
            ("layout", manifest.layout),
            ("channels", manifest.channels),
            ("pixels", "; ".join(sides)),
            ("size", f"{told['megabytes']:,} MB"),
            ("set aside", ", ".join(f"{reason} {count:,}" for reason, count in told["set_aside"].items()) or "nothing"),
            ("digest", element("span", breakable(manifest.digest), class_="path")),
        ]
    )
    rows = [tuple(row[name] for name in COLUMNS) for row in told["classes"]]
    return page(
        f"Data set {manifest.dataset}",
        header,
        [("about", "About"), ("classes", "Classes"), ("images", "Images")],
        section("about", "About", about),
        section("classes", "Images of each class", table(("class", "train", "val", "test", "in no split"), rows)),
        _images(settings, manifest),
        footer=f"Made by drillcore on data {manifest.digest}. The page loads nothing from elsewhere.",
    )


def _labels(manifest: Manifest) -> list[list[str]]:
    """Return each image's classes; none where pixels have them."""
    found = manifest.table
    if "labels" in found and found["labels"].map(lambda value: value is not None and len(value) > 0).any():
        return [list(value) for value in found["labels"]]
    return [[value] if isinstance(value, str) and value else [] for value in found["label"]]


def _images(settings: Settings, manifest: Manifest) -> Html:
    shown: dict[str, int] = {}
    each = max(1, min(_OF_A_CLASS, MAX_PICTURES // max(1, len(manifest.classes))))
    items: list[tuple[str, Html]] = []
    rows = zip(manifest.table.to_dict("records"), _labels(manifest), strict=True)
    for row, labels in sorted(rows, key=lambda pair: str(pair[0]["sha256"])):
        names = labels or [""]
        if len(items) >= MAX_PICTURES or all(
            shown.get(name, 0) >= (each if name else MAX_PICTURES // 4) for name in names
        ):
            continue
        shown |= {name: shown.get(name, 0) + 1 for name in names}
        card = image_card(
            settings,
            manifest.path_of(row),
            manifest.channels,
            ", ".join(names) or row["path"],
            element("strong", breakable(", ".join(names))) if names != [""] else None,
            join([f"{row['width']} x {row['height']}, {row['split']}"]),
            element("span", breakable(row["path"]), class_="path"),
        )
        items.append((names[0], card))
    return section(
        "images", "Some images of each class", cards([card for _, card in sorted(items, key=lambda it: it[0])])
    )
