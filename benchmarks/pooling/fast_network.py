"""A frozen network by onnxruntime, for `bench cross-pooling`: four times as fast as torch on a processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor

from drillcore.backbones.base import Backbone, TappedModule
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder
from drillcore.export.sessions import cpu_session
from drillcore.representations.cross_pooling.layout import tap_shapes


class OnnxNetwork(TappedModule):
    """The taps that are named, of prepared images float32 [N, C, h, w] of the backbone's own size."""

    def __init__(self, backbone: Backbone, taps: Sequence[str]) -> None:
        super().__init__()
        self.shapes = tap_shapes(backbone, taps)
        graph = helper.make_graph(
            [],
            "taps",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", backbone.planes, *(backbone.resize or ())])],
            [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", "D"])],
        )
        write_backbone(GraphBuilder(graph), backbone, taps, "x", "rows")
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        self.session = cpu_session(model.SerializeToString(), 1)

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations; what is no map is [N, D]."""
        (rows,) = self.session.run(["rows"], {"x": np.ascontiguousarray(x.numpy())})
        found, start = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            own = torch.from_numpy(rows[:, start : start + size])
            found[name] = own.reshape(len(rows), *shape) if shape[1:] != (1, 1) else own
            start += size
        return {name: found[name] for name in names}


def by_onnxruntime(backbone: Backbone, taps: Sequence[str]) -> Backbone:
    """Return a backbone whose activations of some taps onnxruntime computes."""
    network = OnnxNetwork(backbone, taps)
    return Backbone(backbone.name, network, backbone.taps, backbone.preprocessing, backbone.weights_sha256)
