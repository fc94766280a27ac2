"""Model files that would do more than answer images are refused before anything in them runs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drillcore.errors import UnsafeModelError
from drillcore.runtime import safety, safety_trees
from drillcore.runtime.safety import check_model, check_model_bytes
from drillcore.runtime.session import open_model

Model = Any


@pytest.fixture
def model(tiny_models: ModuleType) -> Model:
    return tiny_models.tiny_model()


def refused(model: Model, tmp_path: Path, match: str) -> None:
    """Both the check and the opening refuse it, in one line that names no folder."""
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    for attempt in (lambda: check_model(model), lambda: open_model(path)):
        with pytest.raises(UnsafeModelError, match=match) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def outside(tensor: Any, location: str) -> Any:
    """Make a tensor say that its data lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def floats(name: str = "w") -> Any:
    return numpy_helper.from_array(np.zeros(3, np.float32), name)


def test_good_models_pass(model: Model) -> None:
    before = model.SerializeToString(deterministic=True)
    check_model(model)
    assert model.SerializeToString(deterministic=True) == before
    check_model_bytes(before)


@pytest.mark.parametrize("place", ["secret.bin", "../secret.bin", "/etc/passwd", "link.bin", "file:///etc/passwd"])
def test_external_data_is_refused_wherever_it_points(model: Model, tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    outside(next(item for item in model.graph.initializer if item.name == "offset"), place)
    refused(model, tmp_path, "lies in another file")


def hide_in_subgraph(model: Model) -> None:
    branch = helper.make_graph([], "inner", [], [], [outside(floats(), "/etc/passwd")])
    model.graph.node.append(helper.make_node("If", ["unknown"], ["x"], then_branch=branch, else_branch=branch))


def hide_in_constant(model: Model) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=outside(floats(), "a.bin")))


def hide_in_list(model: Model) -> None:
    node = helper.make_node("Identity", ["images"], ["x"])
    node.attribute.append(helper.make_attribute("many", [outside(floats(), "a.bin")]))
    model.graph.node.append(node)


def hide_in_sparse(model: Model) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside(floats("s"), "a.bin"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(3), "i"))
    sparse.dims[:] = [9]


def hide_in_sparse_attribute(model: Model) -> None:
    node = helper.make_node("Constant", [], ["x"])
    item = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    item.sparse_tensor.values.CopyFrom(outside(floats("s"), "a.bin"))
    model.graph.node.append(node)


def hide_in_function(model: Model) -> None:
    inner = helper.make_node("Constant", [], ["y"], value=outside(floats(), "a.bin"))
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "F", [], ["y"], [inner], opsets))


def hide_in_training(model: Model) -> None:
    model.training_info.add().algorithm.initializer.append(outside(floats(), "a.bin"))


def hide_in_entries_only(model: Model) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="a.bin")


@pytest.mark.parametrize(
    "hide",
    [
        *(hide_in_subgraph, hide_in_constant, hide_in_list, hide_in_sparse, hide_in_sparse_attribute),
        *(hide_in_function, hide_in_training, hide_in_entries_only),
    ],
)
def test_external_data_is_found_wherever_it_hides(model: Model, tmp_path: Path, hide: Callable[[Model], None]) -> None:
    hide(model)
    refused(model, tmp_path, "lies in another file")


@pytest.mark.parametrize("domain", ["com.microsoft", "evil", "ai.onnx.preview.training", "ai.onnx.training"])
def test_foreign_domains_are_refused(model: Model, tmp_path: Path, domain: str) -> None:
    node = helper.make_node("Identity", ["images"], ["x"], domain=domain)
    model.graph.node.append(node)
    refused(model, tmp_path, "not among those")
    model.opset_import.append(helper.make_opsetid(domain, 1))
    refused(model, tmp_path, "only ONNX's own")


@pytest.mark.parametrize(
    "operator", ["RandomNormal", "ImageDecoder", "StringConcat", "Optional", "PyOp", "Dropout", ""]
)
def test_operators_off_the_list_are_refused(model: Model, tmp_path: Path, operator: str) -> None:
    model.graph.node.append(helper.make_node(operator, ["images"], ["x"]))
    refused(model, tmp_path, "not among those")


@pytest.mark.parametrize("operator", ["Loop", "If", "SequenceMap"])
def test_loops_and_branches_are_refused(model: Model, tmp_path: Path, operator: str) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    model.graph.node.append(helper.make_node(operator, ["", ""], ["x"], body=body))
    refused(model, tmp_path, "without end")


def test_a_graph_hidden_in_a_harmless_operator_is_refused(model: Model, tmp_path: Path) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Relu", ["mean"], ["x"], body=body))
    refused(model, tmp_path, "graph of its own")


def test_functions_and_training_are_refused(model: Model, tiny_models: ModuleType, tmp_path: Path) -> None:
    inner = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [inner], [helper.make_opsetid("", 20)]))
    refused(model, tmp_path, "functions")
    other = tiny_models.tiny_model()
    other.training_info.add()
    refused(other, tmp_path, "training")


@pytest.mark.parametrize(("field", "value"), [("opset", 1), ("opset", 99), ("ml", 5), ("ir", 3), ("ir", 99)])
def test_versions_outside_the_limits_are_refused(model: Model, tmp_path: Path, field: str, value: int) -> None:
    if field == "ir":
        model.ir_version = value
    else:
        model.opset_import[field == "ml"].version = value
    refused(model, tmp_path, "version|opset")


def test_text_and_odd_tensors_are_refused(model: Model, tiny_models: ModuleType, tmp_path: Path) -> None:
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"]))
    refused(model, tmp_path, "texts")
    for change in ("dims", "negative", "type", "short"):
        other = tiny_models.tiny_model()
        tensor = other.graph.initializer[-1]
        if change == "dims":
            tensor.dims[:] = [2**40]
        elif change == "negative":
            tensor.dims[:] = [-3, -1]
        elif change == "type":
            tensor.data_type = 23
        else:
            tensor.raw_data = b"\0"
        refused(other, tmp_path, "tensor")


def test_too_many_nodes_are_refused(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "MAX_NODES", 20)
    model.graph.node.extend([helper.make_node("Relu", ["mean"], [f"x{i}"]) for i in range(20)])
    refused(model, tmp_path, "nodes; at most 20")
    monkeypatch.setattr(safety, "MAX_PARTS", 30)
    refused(model, tmp_path, "more than 30 parts")


def test_too_large_files_are_not_read(tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drillcore.runtime.session.MAX_MODEL_BYTES", 100)
    with pytest.raises(UnsafeModelError, match="at most 100"):
        open_model(tiny_model_file)
    monkeypatch.setattr(safety, "MAX_MODEL_BYTES", 100)
    with pytest.raises(UnsafeModelError, match="at most 100"):
        check_model_bytes(bytes(101))


def add(model: Model, nodes: list[Any], **constants: Any) -> None:
    """Put nodes before the model's own, so that what they make would be computed."""
    own = [type(node).FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *own])
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    # As an output nothing of it is pruned.
    name = nodes[-1].output[0]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def giant_fill(m: Model) -> None:
    add(m, [helper.make_node("ConstantOfShape", ["big"], ["x"])], big=np.array([2**20, 2**20]))


def giant_expand(m: Model) -> None:
    add(m, [helper.make_node("Expand", ["small", "big"], ["x"])], small=np.ones(1, np.float32), big=np.array([2**40]))


def giant_tile(m: Model) -> None:
    add(m, [helper.make_node("Tile", ["small", "big"], ["x"])], small=np.ones(9, np.float32), big=np.array([2**36]))


def giant_range(m: Model) -> None:
    names = ["from", "till", "by"]
    constants = dict(zip(names, (np.float32(0), np.float32(1e12), np.float32(1)), strict=True))
    add(m, [helper.make_node("Range", names, ["x"])], **constants)


def endless_range(m: Model) -> None:
    names = ["from", "till", "by"]
    constants = dict(zip(names, (np.float32(0), np.float32(1), np.float32(0)), strict=True))
    add(m, [helper.make_node("Range", names, ["x"])], **constants)


def giant_by_product(m: Model) -> None:
    nodes = [helper.make_node("Mul", ["side", "side"], ["big"]), helper.make_node("ConstantOfShape", ["big"], ["x"])]
    add(m, nodes, side=np.array([2**20]))


def giant_by_the_image(m: Model) -> None:
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], start=1, end=3),
        helper.make_node("Mul", ["shape", "many"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["x"]),
    ]
    add(m, nodes, many=np.array([2**12]))


def growing_with_the_image(m: Model) -> None:
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], start=1, end=3),
        helper.make_node("Concat", ["shape", "shape"], ["fourfold"], axis=0),
        helper.make_node("Div", ["fourfold", "few"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["x"]),
    ]
    add(m, nodes, few=np.array([1, 1, 2, 2]))


def doubling(m: Model) -> None:
    nodes = [helper.make_node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(40)]
    add(m, nodes, d0=np.ones(4, np.float32))


def outer_product(m: Model) -> None:
    nodes = [helper.make_node("Mul", ["row", "column"], ["x"])]
    add(m, nodes, row=np.ones((1, 20_000), np.float32), column=np.ones((20_000, 1), np.float32))


def giant_pad(m: Model) -> None:
    add(m, [helper.make_node("Pad", ["row", "pads"], ["x"])], row=np.ones(3, np.float32), pads=np.array([2**40, 0]))


def giant_by_the_pixels(m: Model) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["whole"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "minus"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["x"]),
    ]
    add(m, nodes, minus=np.array([-1]))


@pytest.mark.parametrize(
    "grow",
    [
        *(giant_fill, giant_expand, giant_tile, giant_range, endless_range, giant_by_product, giant_by_the_image),
        *(growing_with_the_image, doubling, outer_product, giant_pad, giant_by_the_pixels),
    ],
)
def test_tensors_out_of_proportion_are_refused(model: Model, tmp_path: Path, grow: Callable[[Model], None]) -> None:
    grow(model)
    tracemalloc.start()
    refused(model, tmp_path, r"elements|cannot be known|grows faster|contradict")
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()


def forest(depth: int = 3, **changes: Any) -> Model:
    """A model whose head is one tree: a chain of `depth` inner nodes, each with a leaf at its other side."""
    count = 2 * depth + 1
    leaves = range(depth, count)
    tables: dict[str, Any] = {
        "nodes_treeids": [0] * count,
        "nodes_nodeids": list(range(count)),
        "nodes_featureids": [0] * count,
        "nodes_truenodeids": [depth + 1 + i for i in range(depth)] + [0] * len(leaves),
        "nodes_falsenodeids": [i + 1 for i in range(depth)] + [0] * len(leaves),
        "nodes_modes": ["BRANCH_LEQ"] * depth + ["LEAF"] * len(leaves),
        "nodes_values": [-float(i) for i in range(count)],
        "target_treeids": [0],
        "target_nodeids": [count - 1],
        "target_ids": [0],
        "target_weights": [1.0],
        "n_targets": 3,
    }
    tables |= changes
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "one"], ["rows"]),
            helper.make_node("TreeEnsembleRegressor", ["rows"], ["probabilities"], domain="ai.onnx.ml", **tables),
        ],
        "forest",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([1, 2, 3]), "axes"), numpy_helper.from_array(np.array([1]), "one")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_forests_pass_and_deep_ones_do_not(tmp_path: Path) -> None:
    check_model(forest(3))
    check_model(forest(900))
    refused(forest(1001), tmp_path, "deeper than 1000")
    refused(forest(40_000), tmp_path, "deeper than 1000")  # would end the process in onnxruntime 1.31


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("nodes_truenodeids", [1, 2, 1, 0, 0, 0, 0], "two parents"),
        ("nodes_truenodeids", [99, 5, 6, 0, 0, 0, 0], "does not exist"),
        ("nodes_nodeids", [0, 1, 2, 3, 4, 5, 5], "numbered"),
        ("nodes_nodeids", [0, 1, 2, 3, 4, 5, -1], "out of range"),
        ("nodes_treeids", [0, 0, 0, 0, 0, 0, 2**40], "out of range"),
        ("nodes_falsenodeids", [1], "length"),
        ("nodes_falsenodeids", [1, 1, 3, 0, 0, 0, 0], "two parents"),
        ("n_targets", 2**40, "elements"),
    ],
)
def test_forests_that_are_none_are_refused(tmp_path: Path, name: str, value: Any, match: str) -> None:
    refused(forest(3, **{name: value}), tmp_path, match)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes_featureids", [-9, 0, 0, 0, 0, 0, 0]),
        ("target_ids", [3]),
        ("target_ids", [-1]),
        ("target_nodeids", [99]),
        ("target_weights", [1.0, 2.0]),
        ("nodes_modes", ["LEAF"]),
        ("nodes_values", [1.0]),
    ],
)
def test_what_onnxruntime_checks_in_forests_it_still_checks(
    tmp_path: Path, tiny_models: ModuleType, name: str, value: Any
) -> None:
    model = forest(3, **{name: value})
    helper.set_model_props(model, {"drillcore": tiny_models.tiny_metadata().to_json()})
    path = tmp_path / "forest.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeModelError):
        open_model(path)


@pytest.mark.parametrize("values", [[], [0], [127, 128, 300], [2**31, 5], [-1, 4], [2**40], list(range(0, 10**6, 7))])
def test_packed_ints_are_the_numbers(values: list[int]) -> None:
    attribute = helper.make_attribute("x", values or [1])
    if not values:
        attribute.ints.clear()
    np.testing.assert_array_equal(safety_trees.packed_ints(attribute), values)


def test_inputs_other_than_images_are_refused(model: Model, tiny_models: ModuleType, tmp_path: Path) -> None:
    model.graph.input.append(helper.make_tensor_value_info("password", TensorProto.FLOAT, [1]))
    refused(model, tmp_path, "images and sizes are expected")
    other = tiny_models.tiny_model()
    other.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    refused(other, tmp_path, "uint8")


def test_the_resize_of_exported_models_passes() -> None:
    graph = pytest.importorskip("drillcore.export.graph")
    builders = pytest.importorskip("drillcore.export.builder")
    for channels in (1, 3):
        made = onnx.ModelProto(ir_version=10)
        made.opset_import.extend([helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)])
        builder = builders.GraphBuilder(made.graph)
        builder.constant("sizes", [[0, 0]], np.int32)
        rule = {"resize": [95, 80], "scale": [1.0] * channels, "offset": [0.0] * channels}
        graph.write_preprocessing(builder, rule, "probabilities")
        made.graph.input.extend(
            [
                helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", channels]),
                helper.make_tensor_value_info("sizes", TensorProto.INT32, ["M", 2]),
            ]
        )
        made.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None))
        check_model(made)
