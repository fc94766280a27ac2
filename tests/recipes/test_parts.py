"""Recipes that cannot be meant: refused with file, line, field and what is allowed, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from drillcore.errors import RecipeError
from drillcore.heads.base import Classifier, Regressor
from drillcore.heads.catalogue import HEADS, head_class, head_params
from drillcore.recipes import Recipe, read_recipe
from drillcore.recipes.building import check_parts, check_words
from drillcore.recipes.editing import editor_schema
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION, TASKS

MODELS = Path(__file__).resolve().parents[2] / "models"
REPRESENTATIONS = ("activations", "core_samples")
TEXT = """\
schema: 1
name: one
task: {task}
dataset: {{name: camvid}}
backbone: {{name: squeezenet1_0, taps: [fire9]}}
representation: {{name: {representation}, params: {params}}}
head:
  name: {head}
  params: {head_params}
"""
MEANT = {
    (task, "core_samples" if TASKS[task].dense else "activations", head)
    for head, row in HEADS.items()
    for task in row.tasks
}


def recipe_of(
    folder: Path, task: str, representation: str, head: str, params: str = "{}", head_params: str = "{}", more: str = ""
) -> Recipe:
    path = folder / "one.yaml"
    given = {"task": task, "representation": representation, "head": head, "params": params, "head_params": head_params}
    path.write_text(TEXT.format(**given) + more)
    return read_recipe(path)


def test_only_a_model_of_one_class_an_image_may_not_be_sure(tmp_path: Path) -> None:
    more = "abstain: {accuracy: 0.95}\n"
    check_words(recipe_of(tmp_path, CLASSIFICATION, "activations", "forest", more=more))
    with pytest.raises(
        RecipeError, match=r"one.yaml:10:1: abstain is for models of the task classification, this one has"
    ):
        check_words(recipe_of(tmp_path, DENSE_LABELS, "core_samples", "forest", more=more))


@pytest.mark.parametrize("head", [*HEADS, "none"])
@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("task", TASKS)
def test_each_head_task_and_representation_is_meant_or_refused(
    tmp_path: Path, task: str, representation: str, head: str
) -> None:
    recipe = recipe_of(tmp_path, task, representation, head)
    if (task, representation, head) in MEANT:
        check_words(recipe)
        return
    with pytest.raises(RecipeError) as caught:
        check_words(recipe)
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("one.yaml: ")]
    assert all(line.startswith("one.yaml:") for line in lines)
    if head == "none" or task not in HEADS[head].tasks:
        (found,) = [line for line in lines if line.startswith("one.yaml:8:3: head.name is ")]
        able = [name for name, row in HEADS.items() if task in row.tasks]
        assert found.endswith(f"allowed: {', '.join(able) or 'none'}")
    if (representation == "core_samples") != TASKS[task].dense:
        assert any(line.startswith("one.yaml:6:18: representation.name is ") for line in lines)


@pytest.mark.parametrize(
    ("task", "head", "params", "more", "expected"),
    [
        (DENSE_LABELS, "forest", "{}", "export: {dense_mode: fast}\n", "10:10: export.dense_mode is 'fast'"),
        (DENSE_LABELS, "linear_svm", "{auto_context: {}}", "", "representation.params.auto_context is for heads of"),
        (DENSE_LABELS, "extra_trees", "{answers: {bias: held_out}}", "", "representation.params.answers.bias is held_"),
        (DENSE_LABELS, "forest", "{weighted: true}", "", "representation.params.weighted is for heads that weigh"),
        (DENSE_LABELS, "dbn", "{sampling: {method: hard}}", "", "allowed for dense_labels: uniform, class_balanced"),
        (DENSE_REGRESSION, "dbn_regressor", "{sampling: {method: hard}}", "", "dense_regression: uniform"),
        (DENSE_REGRESSION, "dbn_regressor", "{sampling: {method: targets}}", "", "dense_regression: uniform"),
        (DENSE_REGRESSION, "dbn_regressor", "{sampling: {method: class_balanced}}", "", "dense_regression: uniform"),
        (DENSE_LABELS, "dbn", "{scales: [3]}", "", "6:38: representation.params: scales is [3.0]"),
        (CLASSIFICATION, "forest", "{dtype: int8, views: 3}", "", "representation.params.views is 3; allowed: 1, 2"),
        (CLASSIFICATION, "forest", "{pixels: 3}", "", "representation.params.pixels is not a field; allowed: dtype"),
        (CLASSIFICATION, "forest", "{}", "augment: {name: mixup}\n", "10:11: augment.name is 'mixup'; allowed: none"),
        (CLASSIFICATION, "forest", "{}", "gate: {metric: mean_iou}\n", "gate.metric has 'mean_iou'; a model of the"),
    ],
)  # fmt: skip
def test_what_parts_cannot_do_is_told_where_it_stands(
    tmp_path: Path, task: str, head: str, params: str, more: str, expected: str
) -> None:
    representation = "core_samples" if TASKS[task].dense else "activations"
    with pytest.raises(RecipeError, match=r"one\.yaml:\d+:\d+: ") as caught:
        check_words(recipe_of(tmp_path, task, representation, head, params, more=more))
    assert expected in str(caught.value)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_refuses_parameters_by_name_and_all_at_once(tmp_path: Path, head: str) -> None:
    task = HEADS[head].tasks[-1]
    representation = "core_samples" if TASKS[task].dense else "activations"
    known = "n_classes" if "n_classes" in head_params(head).model_fields else "seed"
    wrong = f"{{nonsense: 1, {known}: many}}"
    with pytest.raises(RecipeError) as caught:
        check_words(recipe_of(tmp_path, task, representation, head, head_params=wrong))
    told = str(caught.value).splitlines()
    assert told[0].startswith("one.yaml: 2 mistakes, in head.params.nonsense, head.params.")
    assert told[1].startswith("one.yaml:9:12: head.params.nonsense is not a field")
    assert told[2].startswith("one.yaml:9:25: head.params.")


@pytest.mark.parametrize("head", HEADS)
def test_a_row_tells_what_its_class_is(head: str) -> None:
    row, kind = HEADS[head], head_class(head)
    assert (kind.name, kind.params) == (head, head_params(head))
    assert issubclass(kind, Regressor if row.tasks == (DENSE_REGRESSION,) else Classifier)
    built = kind()
    assert set(built.get_params()) == set(kind.params.model_fields)
    for name, value in built.checked_params():
        assert built.get_params()[name] == value


def test_the_shipped_recipes_can_be_meant() -> None:
    for path in MODELS.glob("*.yaml"):
        check_words(read_recipe(path))


def test_words_are_checked_without_torch(tmp_path: Path) -> None:
    recipe_of(tmp_path, DENSE_LABELS, "core_samples", "kernel_svm")
    code = (
        "import sys\nfrom pathlib import Path\nfrom drillcore.recipes import read_recipe\n"
        "from drillcore.recipes.building import check_words\n"
        "try:\n    check_words(read_recipe(Path(sys.argv[1])))\nexcept Exception as error:\n    print(error)\n"
        "heavy = ('torch', 'sklearn', 'prefect', 'mlflow', 'numba', 'onnx', 'pandas', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "one.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told, loaded = done.stdout.splitlines()
    assert told.startswith("one.yaml:8:3: head.name is 'kernel_svm', which has not the task dense_labels; allowed: ")
    assert loaded == "[]"


def test_the_editors_schema_knows_the_parameters_of_each_head() -> None:
    schema = json.loads(json.dumps(editor_schema()))
    assert schema["required"] == ["schema", "name", "task", "dataset", "backbone", "head"]
    assert "path" not in schema["properties"]
    known = {
        rule["if"]["properties"]["head"]["properties"]["name"]["const"]: rule["then"]["properties"]["head"]
        for rule in schema["allOf"]
    }
    assert known.keys() == HEADS.keys()
    assert known["forest"]["properties"]["params"]["properties"]["n_estimators"]["minimum"] == 1
    assert "epochs" in schema["$defs"]["BackboneSection"]["properties"]["train"]["anyOf"][0]["properties"]
    assert "$ref" not in json.dumps(schema["allOf"])


def test_a_softmax_takes_logits(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    text = "schema: 1\nname: one\ntask: classification\ndataset: {name: shells}\nhead: {name: softmax}\n"
    path.write_text(text + "backbone: {name: cnn1, taps: [layer4]}\n")
    with pytest.raises(
        RecipeError, match=r"one\.yaml:6:24: backbone\.taps are \d+ numbers of two classes; the head soft"
    ):
        check_parts(read_recipe(path))
    path.write_text(text + "backbone: {name: squeezenet1_0_grey, taps: [logits], resize: 48}\n")
    check_parts(read_recipe(path))
