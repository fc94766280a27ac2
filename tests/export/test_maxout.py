"""CNN3 as ONNX: maxout, poolings that round up, and no trace of its dropout."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper

from drillcore.backbones.networks.plankton_cnn import ALL_LAYERS, build_plankton_cnn
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder


def test_every_tap_of_cnn3_equals_torchs() -> None:
    torch.set_num_threads(1)
    backbone = build_plankton_cnn("cnn3", 7, seed=3, keep=ALL_LAYERS)
    taps = list(backbone.taps)
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "cnn3"
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28]))
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 784 + 4800 + 768 + 216]))
    write_backbone(GraphBuilder(model.graph), backbone, taps, "x", "rows")
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert {"Max", "Slice", "MaxPool"} <= operators
    assert "Dropout" not in operators
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(count))
        found = session.run(None, {"x": x.numpy()})[0]
        np.testing.assert_allclose(found, backbone.rows(x, taps).numpy(), rtol=1e-5, atol=1e-5)
