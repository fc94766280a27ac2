from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drillcore.datasets.splits import SPLITS, SplitRow, assign_splits, carve_val, quotas
from drillcore.errors import DataError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
PAPER = {"train": 25000 / 30300, "val": 1500 / 30300, "test": 3800 / 30300}


def row(number: int, label: str = "a", digest: str = "", group: str = "", split: str | None = None) -> SplitRow:
    digest = digest or f"d{number}"
    return SplitRow(path=f"{label}/{number}.jpg", sha256=digest, group=group or digest, label=label, split=split)


def carried(rows: list[SplitRow], splits: list[str]) -> list[SplitRow]:
    return [replace(one, split=split) for one, split in zip(rows, splits, strict=True)]


@st.composite
def data_sets(draw: st.DrawFn) -> list[SplitRow]:
    """Rows of a few classes; digests and groups repeat, inside a class."""
    rows = []
    for number in range(draw(st.integers(1, 60))):
        label = draw(st.sampled_from("abc"))
        digest = f"{label}{draw(st.integers(0, 40))}"
        group = f"{label}-scene{draw(st.integers(0, 12))}" if draw(st.booleans()) else ""
        rows.append(row(number, label, digest, group))
    return rows


@pytest.mark.parametrize(
    ("groups", "shares", "expected"),
    [
        (1, SHARES, (1, 0, 0)),
        (2, SHARES, (2, 0, 0)),
        (3, SHARES, (1, 1, 1)),
        (10, SHARES, (7, 1, 2)),
        (100, PAPER, (82, 5, 13)),
        (30300, PAPER, (25000, 1500, 3800)),
        (3, {"train": 0.0, "val": 0.5, "test": 0.5}, (1, 1, 1)),
        (25, {"train": 0.8, "val": 0.1, "test": 0.1}, (19, 3, 3)),  # halves go up
    ],
)
def test_quotas(groups: int, shares: dict[str, float], expected: tuple[int, int, int]) -> None:
    assert tuple(quotas(groups, shares)[split] for split in SPLITS) == expected


@given(data_sets(), st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_rows_does_not_matter(rows: list[SplitRow], seed: int, random: object) -> None:
    splits = assign_splits(rows, fractions=SHARES, seed=seed).splits
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = assign_splits([rows[i] for i in order], fractions=SHARES, seed=seed).splits
    assert again == [splits[i] for i in order]


@given(data_sets(), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_no_digest_and_no_group_is_in_two_splits(rows: list[SplitRow], seed: int) -> None:
    splits = assign_splits(rows, fractions=SHARES, seed=seed).splits
    where = defaultdict(set)
    for one, split in zip(rows, splits, strict=True):
        where["digest", one.sha256].add(split)
        where["group", one.group].add(split)
    assert all(len(found) == 1 for found in where.values())
    assert set(splits) <= set(SPLITS)


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 70), min_size=1), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_proportions_are_exact_in_every_class(counts: dict[str, int], seed: int) -> None:
    rows = [row(number, label, f"{label}{number}") for label, count in counts.items() for number in range(count)]
    result = assign_splits(rows, fractions=PAPER, seed=seed)
    for label, count in counts.items():
        found = Counter(split for one, split in zip(rows, result.splits, strict=True) if one.label == label)
        assert {split: found[split] for split in SPLITS} == quotas(count, PAPER)
    assert result.train_only == sorted(label for label, count in counts.items() if count < 3)


@given(data_sets(), st.integers(0, 60), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_appending_moves_nothing_and_keeps_groups_whole(rows: list[SplitRow], cut: int, seed: int) -> None:
    old = rows[:cut]
    first = assign_splits(old, fractions=SHARES, seed=seed).splits
    both = assign_splits(rows, carried(old, first), fractions=SHARES, seed=seed)
    assert both.splits[: len(old)] == first
    where: dict[str, set[str]] = defaultdict(set)
    for one, split in zip(rows, both.splits, strict=True):
        if split != "none":
            where[one.sha256].add(split)
    assert all(len(found) == 1 for found in where.values())


def test_growth_goes_where_the_class_is_shortest() -> None:
    old = [row(number) for number in range(20)]
    first = assign_splits(old, fractions=SHARES, seed=0).splits
    rows = old + [row(number) for number in range(20, 100)]
    found = Counter(assign_splits(rows, carried(old, first), fractions=SHARES, seed=0).splits)
    assert found == {"train": 70, "val": 10, "test": 20}


def test_a_class_that_grows_to_three_groups_gets_all_splits() -> None:
    old = [row(0), row(1)]
    result = assign_splits(old, fractions=SHARES, seed=0)
    assert result.splits == ["train", "train"]
    assert result.train_only == ["a"]
    rows = [*old, row(2), row(3)]
    later = assign_splits(rows, carried(old, result.splits), fractions=SHARES, seed=0)
    assert sorted(later.splits) == ["test", "train", "train", "val"]
    assert later.train_only == []


def test_a_new_duplicate_joins_its_original_even_one_that_is_gone() -> None:
    gone = row(0, digest="same", split="test")
    result = assign_splits([row(1, digest="same"), row(2), row(3), row(4)], [gone], fractions=SHARES, seed=0)
    assert result.splits[0] == "test"


def test_a_new_row_that_bridges_two_splits_is_in_none() -> None:
    old = [row(0, digest="x", split="train"), row(1, group="scene", split="test")]
    bridge = row(2, digest="x", group="scene")
    result = assign_splits([*old, bridge], old, fractions=SHARES, seed=0)
    assert result.splits == ["train", "test", "none"]
    assert result.bridging == [bridge.path]


def test_published_splits_are_kept_even_inside_one_sequence() -> None:
    rows = [row(number, group="sequence", split="train" if number % 2 else "val") for number in range(8)]
    assert assign_splits(rows, fractions=SHARES, seed=0).splits == [one.split for one in rows]


def test_one_image_in_two_published_splits_is_in_none() -> None:
    rows = [row(0, digest="x", split="train"), row(1, digest="x", split="test"), row(2, split="val")]
    result = assign_splits(rows, fractions=SHARES, seed=0)
    assert result.splits == ["none", "none", "val"]
    assert result.bridging == ["a/0.jpg", "a/1.jpg"]


def test_another_seed_gives_another_split() -> None:
    rows = [row(number) for number in range(40)]
    assert assign_splits(rows, fractions=SHARES, seed=0) != assign_splits(rows, fractions=SHARES, seed=1)


@pytest.mark.parametrize("shares", [(), (0.5, 0.1, 0.1), (1.2, -0.1, -0.1)])
def test_fractions_that_are_no_shares(shares: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="sum to 1"):
        assign_splits([row(0)], fractions=dict(zip(SPLITS, shares, strict=False)), seed=0)


def test_a_published_train_and_test_give_val_an_eighth_of_train_by_group() -> None:
    rows = [
        SplitRow(
            path=f"{split}/{label}/{number}", sha256=f"{split}{label}{number}", group=group, label=label, split=split
        )
        for label in ("a", "b")
        for split, count in (("train", 32), ("test", 8))
        for number in range(count)
        for group in [f"{split}{label}{number // 2}"]
    ]
    rows += [SplitRow(path=f"train/c/{n}", sha256=f"c{n}", group=f"c{n}", label="c", split="train") for n in range(2)]
    found = carve_val(rows, SHARES, 5)
    assert found == carve_val(rows[::-1], SHARES, 5)[::-1]
    val = [row for row in found if row.split == "val"]
    assert {label: sum(row.label == label for row in val) for label in "abc"} == {"a": 4, "b": 4, "c": 0}
    assert not {row.group for row in val} & {row.group for row in found if row.split != "val"}
    assert [row.split for row in found if row.path.startswith("test")] == ["test"] * 16
    without_test = [row for row in rows if row.split == "train"]
    assert carve_val(without_test, SHARES, 5) == without_test
