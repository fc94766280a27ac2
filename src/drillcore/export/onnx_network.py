"""A frozen network by onnxruntime, for those who fill the store: on a processor three to five times as fast as torch.

The nodes are those that `backbone` writes into a model's file; the largest difference to torch's activations is of the
size of float32's rounding. Answers do not depend on how many threads ask at once: each run has one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from drillcore.backbones.base import Backbone, TappedModule
from drillcore.backbones.blocks import BlockNetwork
from drillcore.errors import InputError
from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.backbone import trace_taps, write_traced
from drillcore.export.builder import GraphBuilder
from drillcore.export.sessions import cpu_session

# Weights of a network from which it is worth it: below, images take longer to be read than to be looked at.
_WORTH_IT = 500_000


class OnnxNetwork(TappedModule):
    """Taps of a network, of prepared images on the processor.

    Args:
        backbone: whose; its weights are copied.
        taps: that can be asked for.
        size: height and width of all images; None: they may have any.

    Raises:
        UnknownNameError: a tap the backbone does not have.
        InputError: an operator that has no ONNX form, or with images of any size one that is bound to a size.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[str], size: tuple[int, int] | None = None) -> None:
        super().__init__()
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
        model.opset_import.append(helper.make_opsetid("", OPSET))
        model.graph.name = "taps"
        shape = ["N", backbone.planes, *(size or ("H", "W"))]
        model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, shape))
        traced = trace_taps(backbone, taps, size)
        self._outputs = write_traced(GraphBuilder(model.graph), traced, "images", scope="backbone")
        for name in dict.fromkeys(self._outputs.values()):
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self._session = cpu_session(model.SerializeToString(), 1)

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations `names` of x float32 [N, C, h, w] on the processor."""
        wanted = [self._outputs[name] for name in names]
        found = self._session.run(wanted, {"images": np.ascontiguousarray(x.numpy())})
        return {name: torch.from_numpy(values) for name, values in zip(names, found, strict=True)}


def quickened(backbone: Backbone) -> Backbone:
    """Let onnxruntime compute what is kept of a network that is large enough for it to be worth it; returns itself."""
    if sum(value.numel() for value in backbone.module.parameters()) >= _WORTH_IT:
        backbone.compiler = compiled_network
    return backbone


def compiled_network(backbone: Backbone, taps: Sequence[str]) -> TappedModule | None:
    """Return what computes taps faster than torch on a processor; None: the network has no such form."""
    module = backbone.module
    try:
        if not isinstance(module, BlockNetwork):
            return OnnxNetwork(backbone, taps, backbone.resize)
        rule = {**backbone.preprocessing, "resize": list(module.size)}
        look = Backbone(backbone.name, module.network, backbone.taps, rule, backbone.weights_sha256)  # type: ignore[arg-type]
        return BlockNetwork(OnnxNetwork(look, taps, module.size), module.blocks, module.size)
    except InputError:
        return None
