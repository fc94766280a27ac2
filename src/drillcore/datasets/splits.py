"""Who is trained on, who is judged by: splits that stay as a data set grows.

A split is given once, by the published layout or here, and carried in the manifest. Images that belong together (equal
digests, one scene) are one group, and a group is in one split. Plain hashing into splits left 16
of plankton's 121 classes without a validation image; quotas cannot do that.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from drillcore.datasets.base import NONE, TEST, TRAIN, VAL
from drillcore.errors import DataError

SPLITS = (TRAIN, VAL, TEST)
MIN_GROUPS = 3  # a class with fewer is trained on only


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """What decides on an image's split.

    Attributes:
        path: POSIX path under `data/<dataset>`.
        sha256: digest of the image.
        group: what it belongs to; its own digest where it stands alone.
        label: its class; "" where the task has no class per image.
        split: train, val or test where it is given (published, or carried); None where it is to be chosen.
    """

    path: str
    sha256: str
    group: str
    label: str
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """The splits of all rows, and what has to be said about them.

    Attributes:
        splits: train, val, test or none, in the order of the rows.
        train_only: classes with fewer than three groups, sorted.
        bridging: paths of rows that belong to two splits at once and are in none, sorted.
    """

    splits: list[str]
    train_only: list[str] = field(default_factory=list)
    bridging: list[str] = field(default_factory=list)


def assign_splits(
    rows: Sequence[SplitRow],
    previous: Sequence[SplitRow] = (),
    *,
    fractions: Mapping[str, float],
    seed: int,
) -> Assignment:
    """Return every row's split; the order of the rows does not matter.

    1. A row that `previous` has (path and digest) keeps its split, then a published split is kept.
    2. A row whose duplicates or group are in one split joins it; in two splits: it bridges them and is in none. Two
       published splits that hold the same image: both rows are in none.
    3. What is left is new: in the order of sha256(group|seed) each group goes to the split its class is shortest of,
       measured against `quotas`.

    Args:
        rows: the data set as it is now.
        previous: the last manifest's rows, with their splits.
        fractions: shares of train, val and test, see `quotas`.
        seed: belongs to the data set.

    Raises:
        DataError: fractions that are no shares.
    """
    _check_fractions(fractions)
    carried = {(row.path, row.sha256): row.split for row in previous}
    known = [carried.get((row.path, row.sha256)) for row in rows]
    parts = _components([*rows, *previous])
    held: dict[int, frozenset[str]] = {}
    for row, part in zip(previous, parts[len(rows) :], strict=True):
        _hold(held, part, row.split)
    result: list[str | None] = list(known)
    bridging = _keep_published(rows, result, previous)
    for part, split in zip(parts, result, strict=False):
        _hold(held, part, split)
    _join(rows, parts, held, result, bridging)
    train_only = _share_out(rows, parts, result, fractions, seed)
    return Assignment([split or NONE for split in result], train_only, sorted(bridging))


def carve_val(rows: Sequence[SplitRow], fractions: Mapping[str, float], seed: int) -> list[SplitRow]:
    """Return rows of a published train and test without val, with whole groups of train in val; others as they are.

    Of each class in train val gets its share of train and val, at least one group of three.

    Args:
        rows: the data set, with its published splits.
        fractions: shares of train, val and test.
        seed: belongs to the data set.
    """
    if {row.split for row in rows} != {"train", "test"}:
        return list(rows)
    share = fractions["val"] / (fractions["train"] + fractions["val"])
    tested = {row.group for row in rows if row.split == "test"}
    classes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.split == "train" and row.group not in tested:
            classes[row.label].add(row.group)
    chosen: set[str] = set()
    for groups in classes.values():
        ordered = sorted(groups, key=lambda group: hashlib.sha256(f"{group}|{seed}".encode()).hexdigest())
        chosen.update(ordered[: max(1, round(share * len(ordered))) if len(ordered) >= MIN_GROUPS else 0])
    return [replace(row, split="val") if row.split == "train" and row.group in chosen else row for row in rows]


def quotas(groups: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Return how many of a class's groups each split should have.

    val and test get max(1, round(share x groups)), train the rest and never less than one; below three groups train
    gets all.

    >>> quotas(10, {"train": 0.7, "val": 0.1, "test": 0.2})
    {'train': 7, 'val': 1, 'test': 2}
    >>> quotas(2, {"train": 0.7, "val": 0.1, "test": 0.2})
    {'train': 2, 'val': 0, 'test': 0}
    """
    if groups < MIN_GROUPS:
        return {TRAIN: groups, VAL: 0, TEST: 0}
    # Halves go up: Python's round would go to the even number.
    counts = {split: max(1, int(fractions[split] * groups + 0.5)) for split in (VAL, TEST)}
    while counts[VAL] + counts[TEST] >= groups:
        counts[max(counts, key=lambda split: counts[split])] -= 1
    return {TRAIN: groups - counts[VAL] - counts[TEST], **counts}


def _check_fractions(fractions: Mapping[str, float]) -> None:
    shares = [fractions.get(split, -1.0) for split in SPLITS]
    if set(fractions) != set(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise DataError(f"shares of {', '.join(SPLITS)} that sum to 1 are expected, not {dict(fractions)}")


def _components(rows: Sequence[SplitRow]) -> list[int]:
    """Return a number per row; rows with one digest or one group, also through others, have the same number."""
    parent = list(range(len(rows)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    by_digest: dict[str, int] = {}
    by_group: dict[str, int] = {}
    for index, row in enumerate(rows):
        parent[root(index)] = root(by_digest.setdefault(row.sha256, index))
        parent[root(index)] = root(by_group.setdefault(row.group, index))
    return [root(index) for index in range(len(rows))]


# One of each: there may be a million groups.
_ALONE = {split: frozenset({split}) for split in SPLITS}


def _hold(held: dict[int, frozenset[str]], part: int, split: str | None) -> None:
    """Remember that a group has an image in a split."""
    if split in _ALONE:
        there = held.get(part)
        held[part] = _ALONE[split] if there is None or there == _ALONE[split] else there | _ALONE[split]


def _keep_published(rows: Sequence[SplitRow], result: list[str | None], previous: Sequence[SplitRow]) -> set[str]:
    """Fill in the published splits; return the paths of rows whose image is in two splits."""
    published = [index for index, row in enumerate(rows) if result[index] is None and row.split is not None]
    splits: dict[str, set[str]] = {rows[index].sha256: set() for index in published}
    for index in published:
        splits[rows[index].sha256].add(str(rows[index].split))
    for row in previous if published else ():
        if row.split in SPLITS and row.sha256 in splits:
            splits[row.sha256].add(str(row.split))
    bridging = set()
    for index in published:
        row = rows[index]
        # The splits of a sequence may reach into each other as published; those of one and the same image may not.
        bridges = len(splits[row.sha256]) > 1
        result[index] = NONE if bridges else row.split
        if bridges:
            bridging.add(row.path)
    return bridging


def _join(
    rows: Sequence[SplitRow],
    parts: Sequence[int],
    held: Mapping[int, frozenset[str]],
    result: list[str | None],
    bridging: set[str],
) -> None:
    for index, row in enumerate(rows):
        if result[index] is None and (splits := held.get(parts[index])):
            result[index] = next(iter(splits)) if len(splits) == 1 else NONE
            if len(splits) > 1:
                bridging.add(row.path)


def _share_out(
    rows: Sequence[SplitRow],
    parts: Sequence[int],
    result: list[str | None],
    fractions: Mapping[str, float],
    seed: int,
) -> list[str]:
    """Give the new groups their splits; return the classes that are trained on only."""
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        if result[index] != NONE:
            members[parts[index]].append(index)
    # A group with several classes counts for the first of them.
    classes: dict[str, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        classes[min(rows[index].label for index in indices)].append(indices)
    train_only = []
    for label, groups in sorted(classes.items()):
        if len(groups) < MIN_GROUPS:
            train_only.append(label)
        _share_class(rows, groups, result, quotas(len(groups), fractions), seed)
    return train_only


def _share_class(
    rows: Sequence[SplitRow], groups: list[list[int]], result: list[str | None], quota: Mapping[str, int], seed: int
) -> None:
    counts: Counter[str] = Counter()
    fresh: list[tuple[str, list[int]]] = []
    for group in groups:
        splits = {result[index] for index in group}
        if None in splits:
            name = min(rows[index].group for index in group)
            fresh.append((hashlib.sha256(f"{name}|{seed}".encode()).hexdigest(), group))
        else:
            counts.update({str(split): 1 for split in splits})
    for order, group in sorted(fresh):
        lack = {split: quota[split] - counts[split] for split in SPLITS}
        most = [split for split in SPLITS if lack[split] == max(lack.values())]
        chosen = most[int(order[:8], 16) % len(most)]
        counts[chosen] += 1
        for index in group:
            result[index] = chosen
