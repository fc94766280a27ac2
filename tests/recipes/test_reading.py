"""Recipes: a wrong or unknown field is named with its line and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import RecipeError, UnknownNameError
from drillcore.recipes import load_recipe, read_recipe
from drillcore.settings import Settings

GOOD = """\
schema: 1
name: tiny
task: classification
dataset: {name: plankton}
backbone:
  name: cnn1
  taps: [layer3]
  train: {epochs: 2}
head:
  name: forest
  params: {n_estimators: 10}
gate:
  metric: accuracy
  confidence: 0.9
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return path


def test_good_recipe_fills_in_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD))
    assert recipe.backbone.weights == "seed:0"
    assert recipe.gate.confidence == 0.9
    assert recipe.evaluate.split == "test"
    assert recipe.where("gate.confidence") == "tiny.yaml:14:3"
    assert recipe.where("gate.max_ms") == "tiny.yaml:12:1"  # where it would stand


def test_digest_ignores_comments_order_and_defaults(tmp_path: Path) -> None:
    first = read_recipe(write(tmp_path, GOOD)).sha256
    spelled = GOOD.replace("  name: cnn1\n  taps: [layer3]\n", "  taps: [layer3]  # the third\n  name: cnn1\n")
    assert read_recipe(write(tmp_path, spelled + "  margin: 0\n")).sha256 == first
    assert read_recipe(write(tmp_path, spelled + "  margin: 0.01\n")).sha256 != first


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # what is wrong, and the line that says so
        (
            "taps: [layer3]",
            "tap: [layer3]",
            "tiny.yaml:7:3: backbone.tap is not a field (did you mean taps?); allowed: name",
        ),
        (
            "confidence: 0.9",
            "confidence: 2",
            "tiny.yaml:14:3: gate.confidence is 2; a number from 0.5 to 0.9999 is expected",
        ),
        ("confidence: 0.9", "confidence: high", "tiny.yaml:14:3: gate.confidence is 'high'; a number from 0.5"),
        (
            "metric: accuracy",
            "metric: auc",
            "tiny.yaml:13:3: gate.metric is 'auc'; allowed: accuracy, macro_f1, log_loss",
        ),
        ("schema: 1", "schema: 2", "tiny.yaml:1:1: schema is 2; a whole number that is 1 is expected"),
        ("task: classification", "task: poetry", "tiny.yaml:3:1: task is 'poetry'; allowed: classification"),
        ("name: tiny", "name: other", "tiny.yaml:2:1: name is 'other'; the file's own name, 'tiny', is expected"),
        ("name: tiny", "name: ../tiny", "tiny.yaml:2:1: name is '../tiny'; lower-case letters"),
        ("  name: cnn1\n", "", "tiny.yaml:5:1: backbone lacks the field 'name'"),
        ("[layer3]", "[]", "tiny.yaml:7:3: backbone.taps is empty"),
        ("[layer3]", "[3]", "tiny.yaml:7:10: backbone.taps[0] is 3; text is expected"),
        ("gate:\n", "gate:\n  metric: log_loss\n", "tiny.yaml:14:3: gate.metric stands twice"),
        ("{epochs: 2}", "&a {epochs: 2}", "tiny.yaml:8:10: not valid YAML: anchors and aliases are not allowed"),
        ("{epochs: 2}", "{epochs: .nan}", "tiny.yaml:8:11: backbone.train.epochs is not a finite number"),
        ("{epochs: 2}", "{epochs: 2", "not valid YAML"),
        ("{epochs: 2}", "3", "backbone.train is 3; a mapping or none is expected"),
        ("{name: plankton}", "!!python/object/apply:os.system {name: plankton}", "dataset"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    if "python/object" in new:
        # A tag is never obeyed: the mapping is read as a mapping.
        assert read_recipe(write(tmp_path, GOOD.replace(old, new, 1))).dataset.name == "plankton"
        return
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, GOOD.replace(old, new, 1)))
    first, *others = str(caught.value).splitlines()
    assert expected in "\n".join(others or [first])
    assert not others or first == f"tiny.yaml: {len(others)} mistakes, in backbone, backbone.tap"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("taps: [layer3]", "taps: [layer3, 4]").replace(
        "confidence: 0.9", "confidense: 0.9\n  margin: 7"
    )
    text = text.replace("{n_estimators: 10}", "{n_estimators: 0, trees: 3}").replace("{epochs: 2}", "{epochs: many}")
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text))
    first, *others = str(caught.value).splitlines()
    assert first.startswith("tiny.yaml: 6 mistakes, in ")
    assert set(others) == {
        "tiny.yaml:7:18: backbone.taps[1] is 4; text is expected",
        "tiny.yaml:8:11: backbone.train.epochs is 'many'; a whole number from 1 to 100000 is expected",
        "tiny.yaml:11:12: head.params.n_estimators is 0; 1 or more trees is expected",
        next(line for line in others if line.startswith("tiny.yaml:11:29: head.params.trees is not a field;")),
        next(line for line in others if "gate.confidense is not a field (did you mean confidence?)" in line),
        "tiny.yaml:15:3: gate.margin is 7; a number from 0 to 1 is expected",
    }


@pytest.mark.parametrize("text", ["", "- a\n", "\x00", "a: [" * 2000, "42"])
def test_no_recipe_at_all(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path, text))


def test_unknown_model_names_the_known(settings: Settings) -> None:
    (settings.models / "tiny.yaml").write_text(GOOD)
    with pytest.raises(UnknownNameError, match=r"did you mean tiny.*known: tiny"):
        load_recipe(settings, "tinny")


def test_of_very_many_mistakes_the_first_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    text = GOOD + "".join(f"odd{number}: 1\n" for number in range(500))
    with pytest.raises(RecipeError) as refused:
        read_recipe(write(tmp_path, text))
    first, *told, last = str(refused.value).splitlines()
    assert first.startswith("tiny.yaml: 500 mistakes, in odd0, odd1, ")
    assert len(told) == 20
    assert last == "tiny.yaml: 480 more"


def test_changes_are_checked_like_the_recipe_and_count_in_its_digest(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    changed = read_recipe(path, ["head.params.n_estimators=100", "augment.name=flip", "backbone.taps=[layer2, layer3]"])
    assert changed.head.params == {"n_estimators": 100}
    assert (changed.augment.name, changed.backbone.taps) == ("flip", ["layer2", "layer3"])
    assert changed.sha256 != read_recipe(path).sha256
    assert read_recipe(path, ["gate.confidence=0.9"]).sha256 == read_recipe(path).sha256


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("gate.confidence=2", "tiny.yaml with --set: gate.confidence is 2; a number from 0.5 to 0.9999 is expected"),
        ("gate.konfidence=1", "tiny.yaml with --set: gate.konfidence is not a field (did you mean confidence?)"),
        ("head.name.x=1", "--set head.name.x: head.name has no fields"),
        ("backbone=3", "tiny.yaml with --set: backbone is 3; a mapping is expected"),
        ("gate.metric", "--set gate.metric: FIELD=VALUE is expected"),
        ("backbone.taps=[a", "--set backbone.taps=[a: the value is not valid YAML"),
        ("head.params=&a {x: 1}", "the value is not valid YAML"),
        ("name=other", "tiny.yaml with --set: name is 'other'; the file's own name, 'tiny', is expected"),
    ],
)
def test_a_wrong_change_is_told_without_a_line(tmp_path: Path, change: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, GOOD), [change])
    assert told in str(caught.value)


def test_a_field_is_changed_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gate\.margin is set twice"):
        read_recipe(write(tmp_path, GOOD), ["gate.margin=0.1", "gate.margin=0.2"])
