"""A machine learnt from a Gram matrix as nodes: one label or several, a class without a row, one class alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.dual_svm_nodes import write_dual_svm
from drillcore.export.sessions import cpu_session
from drillcore.heads.row_source import combine, gram
from drillcore.heads.svm.dual_svm import DualSvmHead

LABELS = np.arange(24) % 3
TRUTHS = {
    "one label": LABELS,
    "a class without a row": np.where(LABELS == 1, 4, LABELS),
    "one class": np.zeros(24, np.int64),
    "several labels": np.stack([LABELS == 0, LABELS != 1, np.zeros(24, bool), LABELS < 9, LABELS == 2], axis=1),
}


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
def test_the_nodes_answer_as_the_head(truth: Any) -> None:
    rows = np.random.default_rng(2).normal(size=(24, 90))
    rows = (rows + LABELS[:, None]).astype(np.float32)
    head = DualSvmHead(n_classes=5, folds=2).fit(gram(rows), truth)
    head.settle(combine(rows, head.dual()))
    model = onnx.ModelProto(ir_version=IR_VERSION)
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = "machine"
    model.graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 90]))
    write_dual_svm(GraphBuilder(model.graph), head, "rows", "probabilities")
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5]))
    onnx.checker.check_model(model)
    (found,) = cpu_session(model.SerializeToString(), 1).run(None, {"rows": rows})
    np.testing.assert_allclose(found, head.predict_proba(rows), atol=2e-4)  # the slopes blow float32 up
