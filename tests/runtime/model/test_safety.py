"""Model files that would do more than answer images are refused before anything in them runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safety_case import Model, refused

from drillcore.errors import UnsafeModelError
from drillcore.runtime.model import safety
from drillcore.runtime.model.safety import check_model, check_model_bytes
from drillcore.runtime.model.session import open_model


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
    monkeypatch.setattr("drillcore.runtime.model.session.MAX_MODEL_BYTES", 100)
    with pytest.raises(UnsafeModelError, match="at most 100"):
        open_model(tiny_model_file)
    monkeypatch.setattr(safety, "MAX_MODEL_BYTES", 100)
    with pytest.raises(UnsafeModelError, match="at most 100"):
        check_model_bytes(bytes(101))


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
