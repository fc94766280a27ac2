"""The models of `bench score`: exported by the library itself, with random weights; speed does not depend on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from drillcore.backbones.catalogue import build_backbone
from drillcore.export.assemble import IR_VERSION, ML_OPSET, OPSET, export_classifier, input_contract
from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.forest_nodes import ML_DOMAIN, write_forest
from drillcore.heads.forest.forest import ForestHead
from drillcore.heads.forest.trees import concatenate, tree_arrays
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.served import ServedModel, put_blob, resolve, write_pointer
from drillcore.settings import Settings

SEED = 0
CLASSES = 121
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FittedForest:
    """The same trees twice: scikit-learn's estimator and our head."""

    estimator: Any
    head: ForestHead


def labelled_rows(count: int, width: int) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Draw rows float32 [N,D] around one centre per class, so overlapping that trees grow deep, as on plankton."""
    generator = np.random.default_rng(SEED)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    centres = generator.normal(0, 0.6, (CLASSES, width))
    return (centres[labels] + generator.normal(0, 1, (count, width))).astype(np.float32), labels


def fit_forest(rows: Rows, labels: npt.NDArray[np.int64], trees: int) -> FittedForest:
    """Fit scikit-learn's forest and read its trees into our head."""
    from sklearn.ensemble import RandomForestClassifier

    estimator = RandomForestClassifier(n_estimators=trees, random_state=SEED, n_jobs=2).fit(rows, labels)
    head = ForestHead(trees, n_classes=CLASSES, seed=SEED)
    trees = concatenate([tree_arrays(member.tree_, estimator.classes_) for member in estimator.estimators_])
    head.set_trees(trees, rows.shape[1], np.arange(CLASSES))
    return FittedForest(estimator, head)


def forest_model(head: ForestHead) -> bytes:
    """Return an ONNX file of the forest alone: rows float32 [N,D] to probabilities float32 [N,K]."""
    model = onnx.ModelProto(ir_version=IR_VERSION)
    model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)])
    graph = model.graph
    graph.name = "forest"
    graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", head.n_features_in_]))
    write_forest(GraphBuilder(graph), head, "rows", "probabilities")
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES]))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def served_model(
    settings: Settings, name: str, backbone_name: str, tap: str, resize: list[int] | None, trees: int, rows: int
) -> tuple[ServedModel, FittedForest]:
    """Export backbone, tap and a fitted forest; bring the file as if it had been fetched. Returns file and forest.

    Args:
        settings: where it goes.
        name: of the model.
        backbone_name: of the catalogue.
        tap: whose activations the forest takes.
        resize: height and width, for backbones that take any.
        trees: of the forest.
        rows: it is fitted on so many drawn rows.
    """
    units = CLASSES if backbone_name.startswith("cnn") else None
    backbone = build_backbone(backbone_name, f"seed:{SEED}", settings, units=units, resize=resize)
    forest = fit_forest(*labelled_rows(rows, backbone.flat_width([tap])), trees)
    metadata = ModelMetadata(
        task="classification",
        model=name,
        classes=[f"class {number:03d}" for number in range(CLASSES)],
        input=input_contract(backbone),
        data_digest="0" * 64,
        lineage="sample",
        git="benchmark",
        dirty=False,
        recipe_sha256="0" * 64,
        weights_sha256=backbone.weights_sha256,
        seeds={"train": SEED},
        min_size=[1, 1],
    )
    data = export_classifier(backbone, [tap], forest.head, dtype="float32", metadata=metadata)
    source = Path(settings.state) / f"{name}.onnx"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(data)
    write_pointer(settings, name, 1, put_blob(settings, source))
    source.unlink()
    return resolve(settings, name), forest
