from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from drillcore.quality import QualityReport, validate
from drillcore.quality.frames import Facts, share_change
from drillcore.quality.near_duplicates import near_pairs, near_splits, thumbnails
from drillcore.quality.thresholds import LIMITS, limits_of
from drillcore.settings import Settings


def table_of(counts: dict[str, int]) -> pd.DataFrame:
    """A healthy manifest without files; thumbnails of missing files are blank and resemble nothing."""
    rows = []
    for label, count in counts.items():
        for index in range(count):
            digest = f"{label}{index}".encode().hex().ljust(64, "0")
            split = ("train", "train", "val", "test")[index % 4]
            rows.append(
                {
                    "id": digest, "path": f"{label}/{index}.png", "sha256": digest, "bytes": 100, "width": 30,
                    "height": 20, "channels": 1, "mode": "L", "dtype": "uint8", "split": split, "label": label,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def facts_of(table: pd.DataFrame, **changes: object) -> Facts:
    quarantine = pd.DataFrame({name: pd.Series(dtype=object) for name in ("path", "sha256", "reason", "detail")})
    facts = Facts(
        dataset="shells",
        layout="classes",
        task="classification",
        classes=sorted(table["label"].dropna().unique()),
        table=table,
        quarantine=quarantine,
    )
    return dataclasses.replace(facts, **changes)  # type: ignore[arg-type]


def judged(settings: Settings, facts: Facts) -> QualityReport:
    """What Great Expectations finds, proven to be what is found without it."""
    report = validate(settings, facts, docs=False)
    quick = validate(settings, facts, quick=True)
    refuses = limits_of(facts.layout).near_duplicate_share < 1  # elsewhere they only warn, and are not looked for
    assert quick.results == tuple(row for row in report.results if refuses or not row.column.startswith("near_"))
    assert (quick.reason, quick.docs) == (report.reason, None)
    return report


def failed(report: QualityReport) -> list[str]:
    return [row.expectation for row in report.failed]


@pytest.fixture
def healthy() -> pd.DataFrame:
    return table_of({"cone": 12, "spiral": 8})


def test_a_healthy_data_set_passes_with_docs(
    settings: Settings, healthy: pd.DataFrame, capfd: pytest.CaptureFixture[str]
) -> None:
    report = validate(settings, facts_of(healthy))
    assert report.ok
    assert report.reason == ""
    assert report.warnings == []
    assert report.docs == settings.state / "data-docs/shells/index.html"
    assert report.docs.is_file()
    assert len(report.rows()) < 32, "one screen"
    assert report.to_dict()["ok"] is True
    assert capfd.readouterr() == ("", "")


def drop_column(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="dtype")


# (what is done to the table, the one expectation that must fail, what its detail names)
SPOILED = [
    ({"mode": "HSV"}, "allowed mode", "cone/0.png HSV"),
    ({"dtype": "float64"}, "allowed sample type", "float64"),
    ({"height": 3}, "at least 8 pixels a side", "cone/0.png 3"),
    ({"width": 30_000}, "at most 20,000 pixels a side", "30000"),
    ({"bytes": 0}, "no empty file", "cone/0.png"),
    ({"split": "holdout"}, "known split", "holdout"),
    ({"label": "conch"}, "known label", "cone/0.png conch"),
    ({"path": "cone/1.png"}, "every path stands once", "cone/1.png"),
    ({"label": None}, "every image has a label", ""),
]


@pytest.mark.parametrize(("change", "expectation", "detail"), SPOILED)
def test_one_spoiled_row(
    settings: Settings, healthy: pd.DataFrame, change: dict[str, object], expectation: str, detail: str
) -> None:
    table = healthy.copy()
    for column, value in change.items():
        table.loc[0, column] = value
    report = judged(settings, facts_of(table, classes=["cone", "spiral"]))
    assert expectation in failed(report)
    assert len(failed(report)) <= 2  # an unknown label is also a class without training images
    assert detail in report.reason
    assert "\n" not in report.reason


def test_the_same_image_in_two_splits(settings: Settings, healthy: pd.DataFrame) -> None:
    healthy.loc[2, "sha256"] = healthy.loc[0, "sha256"]  # val and train
    assert failed(judged(settings, facts_of(healthy))) == ["no image in two splits"]
    healthy.loc[2, "split"] = "none"
    assert judged(settings, facts_of(healthy)).ok


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split(settings: Settings, healthy: pd.DataFrame, split: str) -> None:
    report = judged(settings, facts_of(healthy[healthy["split"] != split].reset_index(drop=True)))
    assert f"{split} has images" in failed(report)


def test_one_class_is_none(settings: Settings) -> None:
    assert failed(judged(settings, facts_of(table_of({"cone": 12})))) == ["at least 2 classes"]


def test_small_classes_warn_and_a_class_without_training_images_fails(
    settings: Settings, healthy: pd.DataFrame
) -> None:
    small = pd.concat([healthy, table_of({"rare": 2})], ignore_index=True)
    report = judged(settings, facts_of(small))
    assert report.ok
    assert [(row.expectation, row.mark) for row in report.warnings] == [("at least 3 images a class", "warning")]
    assert "rare" in report.warnings[0].detail
    small.loc[small["label"] == "rare", "split"] = "test"
    assert failed(judged(settings, facts_of(small))) == ["every class has training images"]


@pytest.mark.parametrize(("bad", "ok"), [(1, True), (2, False)])
def test_quarantine_limit(settings: Settings, healthy: pd.DataFrame, bad: int, ok: bool) -> None:
    quarantine = pd.DataFrame(
        [{"path": f"cone/bad{index}.png", "sha256": None, "reason": "truncated", "detail": ""} for index in range(bad)]
    )
    report = judged(settings, facts_of(healthy, quarantine=quarantine))  # 1 of 21, 2 of 22
    assert report.ok is ok
    if not ok:
        assert "0.0909" in report.reason


def test_missing_column_is_named(settings: Settings, healthy: pd.DataFrame) -> None:
    report = judged(settings, facts_of(drop_column(healthy)))
    assert failed(report)[0] == "required columns"


def test_share_change_by_hand(settings: Settings) -> None:
    before, after = table_of({"cone": 10, "spiral": 10}), table_of({"cone": 18, "spiral": 2})
    assert share_change(facts_of(after)) == 0.0
    assert share_change(facts_of(after, previous=before)) == pytest.approx(0.4)  # 0.9 - 0.5
    assert share_change(facts_of(table_of({"conch": 4}), previous=before)) == pytest.approx(1.0)
    report = judged(settings, facts_of(after, previous=before))
    assert failed(report) == ["class shares moved at most 0.25 since the last version"]
    assert judged(settings, facts_of(before, previous=before)).ok


def shape(seed: int, size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def pictures(settings: Settings) -> pd.DataFrame:
    """Eight pictures: train 0 to 3, val 4 and 5, test 6 and 7; 4 is 0 rescaled, recompressed and a little brighter."""
    folder = settings.data / "shells/cone"
    folder.mkdir(parents=True)
    rows = []
    for index, split in enumerate(("train",) * 4 + ("val",) * 2 + ("test",) * 2):
        path = folder / f"{index}.jpg"
        if index == 4:
            smaller = (
                shape(0, (120, 80)).resize((67, 45), Image.Resampling.LANCZOS).point(lambda value: value * 0.9 + 20)
            )
            smaller.save(path, quality=60)
        else:
            shape(index, (120, 80)).save(path, quality=95)
        with Image.open(path) as image:
            width, height = image.size
        digest = f"{index:064d}"
        rows.append({"path": f"cone/{index}.jpg", "sha256": digest, "split": split, "width": width, "height": height})
    return pd.DataFrame(rows)


def test_near_duplicates_across_splits(settings: Settings, pictures: pd.DataFrame) -> None:
    facts = facts_of(pictures.assign(label="cone"))
    found = near_splits(settings, facts, limits_of("classes"))
    assert found.tolist() == ["val", "", "", "", "train", "", "", ""]
    # Inside one split they are nobody's business.
    same = pictures.assign(label="cone", split="train")
    assert set(near_splits(settings, facts_of(same), limits_of("classes"))) == {""}


def test_thumbnails_are_remembered_by_digest(settings: Settings, pictures: pd.DataFrame) -> None:
    paths, digests = pictures["path"].tolist(), pictures["sha256"].tolist()
    first = thumbnails(settings, "shells", paths, digests)
    assert first.shape == (8, 256)
    for path in (settings.data / "shells/cone").iterdir():
        path.unlink()
    assert (thumbnails(settings, "shells", paths, digests) == first).all()
    memory = settings.state / "thumbnails/shells.npz"
    for damage in (b"", b"PK\x03\x04 damaged", memory.read_bytes()[:200]):
        memory.write_bytes(damage)
        assert not thumbnails(settings, "shells", paths, digests).any()
        memory.unlink()


def test_canary_pickle_in_the_thumbnails_never_fires(
    settings: Settings, tmp_path: Path, pictures: pd.DataFrame
) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "fired"),))

    memory = settings.state / "thumbnails/shells.npz"
    memory.parent.mkdir(parents=True)
    canary = np.array([Canary()], dtype=object)
    np.savez(memory, digests=canary, thumbs=canary)
    thumbnails(settings, "shells", pictures["path"].tolist(), pictures["sha256"].tolist())
    assert not (tmp_path / "fired").exists()


def test_flat_thumbnails_and_other_proportions_match_nothing() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, 256).astype(np.uint8)
    flat = np.full(256, 200, dtype=np.uint8)
    flat[0] = 201
    thumbs = np.stack([picture, picture, flat, flat])
    splits, digests = ["train", "val", "train", "val"], ["a", "b", "c", "d"]
    assert near_pairs(thumbs, np.ones(4), splits, digests, 0.99) == [(1, 0)]
    assert near_pairs(thumbs, np.array([1.0, 1.2, 1.0, 1.0]), splits, digests, 0.99) == []
    assert near_pairs(thumbs, np.ones(4), splits, ["a", "a", "c", "d"], 0.99) == []


def test_the_pairs_are_those_of_comparing_every_two() -> None:
    random = np.random.default_rng(0)
    thumbs = random.integers(0, 256, (600, 256)).astype(np.uint8)
    noise = random.integers(-12, 13, (200, 256))
    thumbs[200:400] = np.clip(thumbs[:200] + noise, 0, 255)
    thumbs[400:460] = thumbs[0]  # many that are one picture
    splits = random.choice(["train", "val", "test", "none"], 600).tolist()
    digests = [f"{number:064d}" for number in range(600)]
    centred = thumbs - thumbs.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    alike = centred @ centred.T >= 0.99
    wanted = {
        (few, many)
        for few, many in np.argwhere(alike).tolist()
        if (splits[few], splits[many]) in (("val", "train"), ("test", "train"), ("val", "test"))
    }
    found = near_pairs(thumbs, np.ones(600), splits, digests, 0.99)
    assert len(wanted) > 500
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_every_layout_has_limits() -> None:
    assert {"plankton", "classes", "camvid", "baeri"} <= set(LIMITS)
    assert limits_of("unheard-of") == LIMITS["classes"]
    assert not LIMITS["camvid"].near_duplicates


def test_dense_labels_need_no_label_column(settings: Settings, healthy: pd.DataFrame) -> None:
    table = healthy.assign(
        label=None, width=200, height=200, mode="F", dtype="float32", path=[f"{i}.tif" for i in range(len(healthy))]
    )
    report = judged(settings, facts_of(table, layout="baeri", task="dense", classes=["sea", "ship"]))
    assert report.ok


FLOATS = "linear power, amplitudes or counts, not decibels"
FEW = "most images use 16 grey levels or more; a recipe's dataset.params.value_range states a range"
LOOKS = "values are what they are read as; a recipe's dataset.params.value_range states others"


@pytest.mark.parametrize(
    ("odd", "few", "warned"), [(11, 0, [LOOKS]), (10, 0, []), (0, 11, [FEW]), (0, 10, []), (20, 20, [FEW, LOOKS])]
)
def test_values_that_look_like_others_warn_where_most_do(
    settings: Settings, healthy: pd.DataFrame, odd: int, few: int, warned: list[str]
) -> None:
    values = {
        path: (3 if number < few else 200, FLOATS if number < odd else "")
        for number, path in enumerate(healthy["path"])
    }
    report = judged(settings, facts_of(healthy, values=values))
    assert report.ok
    assert [row.expectation for row in report.warnings] == warned
    if LOOKS in warned:
        assert report.warnings[-1].observed == f"most look like {FLOATS}"
