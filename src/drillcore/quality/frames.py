"""What is judged, as data frames: one row per image, per class, and one for the whole data set.

Everything that is computed is computed here, with numpy and pandas; Great Expectations only judges columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.runtime.images.value_range import FEW_LEVELS

if TYPE_CHECKING:
    import pandas as pd

JUDGED = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a validation is given.

    Attributes:
        dataset: its name.
        layout: name of its layout.
        task: "classification", "multilabel", "dense" or "segments".
        classes: known labels; empty: any.
        table: the manifest's rows.
        quarantine: what was set aside.
        previous: rows of the lineage's last version, None for its first.
        values: by path, the grey levels an image uses, and what its values look like that they are not read as.
        folder: where the images are; None: under `data/`.
        painted: of a dense data set, how many training images have pixels of each class; empty where not known.
        accept_change: class shares that have moved are only warned about.
    """

    dataset: str
    layout: str
    task: str
    classes: Sequence[str]
    table: pd.DataFrame
    quarantine: pd.DataFrame
    previous: pd.DataFrame | None = None
    values: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    folder: Path | None = None
    painted: Mapping[str, int] = field(default_factory=dict)
    accept_change: bool = False


def image_frame(facts: Facts, near: pd.Series | None = None) -> pd.DataFrame:
    """Return one row per good image: the manifest's columns and what is computed of them.

    shorter_side, longer_side: pixels; splits_of_image: in how many of train, val
    and test its digest is; near_split: another split that holds a near duplicate, "" for none.
    """
    table = facts.table
    columns = ("path", "sha256", "bytes", "width", "height", "channels", "mode", "dtype", "split", "label")
    frame = table[[name for name in columns if name in table.columns]].copy()
    frame["shorter_side"] = frame[["width", "height"]].min(axis=1)
    frame["longer_side"] = frame[["width", "height"]].max(axis=1)
    judged = frame[frame["split"].isin(JUDGED)]
    counts = judged.groupby("sha256")["split"].nunique()
    frame["splits_of_image"] = frame["sha256"].map(counts).fillna(0).astype(int)
    frame["near_split"] = "" if near is None else near.reindex(frame.index).fillna("")
    return frame.reset_index(drop=True)


def class_frame(facts: Facts) -> pd.DataFrame:
    """Return one row per class: label, images (in train, val, test or none), train, share, known.

    Of a dense data set, train counts the training images that have pixels of the class. known: whether the lineage's
    last version had it, or there was none.
    """
    import pandas as pd

    table = facts.table
    found = labels_of(table)
    names = sorted({*facts.classes} | {str(label) for label in found})
    images = found.value_counts()
    train = facts.painted or labels_of(table[table["split"] == "train"]).value_counts()
    before = None if facts.previous is None else set(labels_of(facts.previous))
    frame = pd.DataFrame({"label": pd.Series(names, dtype=object)})
    frame["images"] = [int(images.get(name, 0)) for name in names]
    frame["train"] = [int(train.get(name, 0)) for name in names]
    frame["share"] = frame["images"] / max(len(table), 1)
    frame["known"] = ["yes" if not before or name in before else "new" for name in names]
    return frame


def set_frame(facts: Facts, images: pd.DataFrame) -> pd.DataFrame:
    """Return one row on the whole: counts, the set-aside share, the change of class shares, near duplicates' share."""
    import pandas as pd

    # Annotations without an image are no images.
    good, bad = len(facts.table), int((facts.quarantine["reason"] != "no_image").sum())
    splits = facts.table["split"].value_counts()
    constant = int((facts.quarantine["reason"] == "constant").sum()) if len(facts.quarantine) else 0
    labels = labels_of(facts.table)
    values = [facts.values[path] for path in facts.table["path"] if path in facts.values]
    row: dict[str, object] = {
        "images": good,
        "set_aside_share": bad / max(good + bad, 1),
        "constant_images": constant,
        "classes": len(facts.classes) if facts.task in ("dense", "segments") else int(labels.nunique()),
        "share_change": share_change(facts),
        "near_duplicate_share": float((images["near_split"] != "").mean()) if good else 0.0,
        "few_level_share": sum(levels < FEW_LEVELS for levels, _ in values) / max(len(values), 1),
        "looks_like": _common_look([looks for _, looks in values]),
        **{name: int(splits.get(name, 0)) for name in JUDGED},
    }
    return pd.DataFrame([row])


def labels_of(table: pd.DataFrame) -> pd.Series:
    """Return the labels of a manifest's rows: one each, or all of those that have several, one after the other."""
    if "labels" in table.columns and table["labels"].notna().any():
        return table["labels"].explode().dropna()
    return table["label"].dropna()


def _common_look(looks: Sequence[str]) -> str:
    """Return what most images look like that they are not read as; "" where it is not most of them."""
    odd = Counter(look.partition(", up to ")[0] for look in looks if look)
    if not odd or odd.total() * 2 <= len(looks):
        return ""
    return odd.most_common(1)[0][0]


def share_change(facts: Facts) -> float:
    """Return the total variation distance between the class shares now and in the lineage's last version, 0 to 1.

    Half the sum of the absolute differences, among the classes that the last version had: a new class moves all shares,
    and is no change of the others. 0 where there is no last version or no label per image.
    """
    now = labels_of(facts.table)
    if facts.previous is None or now.empty or (before := labels_of(facts.previous)).empty:
        return 0.0
    then = before.value_counts(normalize=True)
    counts = now.value_counts().reindex(then.index, fill_value=0)
    if not counts.sum():
        return 1.0
    return float((counts / counts.sum()).sub(then).abs().sum() / 2)
