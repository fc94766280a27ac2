"""A forest as ONNX nodes: TreeEnsembleRegressor with non-zero leaf entries only, then a division.

One target per class and the sum over trees in float32, divided by their number afterwards: leaves that are pure, as
nearly all are, add up exactly, so that ties stay ties. Weights divided beforehand would not.

A walk down a big tree waits for memory at every step. onnxruntime lays the false child beside its parent, so the
larger subtree becomes the false one: some 40 % less time on rows never seen before. Where that turns `x <= t` round,
the node asks `-x <= the float32 below -t`, which is `x > t` exactly, and rows come with their negatives beside them.
(Turning the node's mode to BRANCH_GT was slower: modes are mixed then, and looked at for every node.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, NodeProto

from drillcore.arrays import Array
from drillcore.export.builder import GraphBuilder
from drillcore.heads.forest.forest import ForestHead
from drillcore.heads.forest.trees import LEAF, Trees, subtree_ends

ML_DOMAIN = "ai.onnx.ml"


def write_forest(builder: GraphBuilder, head: ForestHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted forest, extremely random trees among them.

    Args:
        builder: of the graph.
        head: fitted.
        rows: name of the input, float32 [N, D].
        probabilities: name of the output, float32 [N, K].
    """
    negated = builder.add("Neg", [rows], "head/negated")
    both = builder.add("Concat", [rows, negated], "head/rows_and_negated", axis=1)
    ensemble = builder.node("TreeEnsembleRegressor", [both], "head/sum", ML_DOMAIN)
    fill_ensemble(ensemble, head.trees_, head.n_features_in_, len(head.classes_))
    count = builder.constant("head/trees", head.trees_.count, np.float32)
    if head.temperature_ == 1.0:
        builder.add("Div", ["head/sum", count], probabilities)
        return
    shares = builder.add("Div", ["head/sum", count], "head/shares")
    last = builder.constant("head/classes_axis", [1], np.int64)
    largest = builder.add("ReduceMax", [shares, last], "head/largest", keepdims=1)
    relative = builder.add("Div", [shares, largest], "head/relative")
    power = builder.constant("head/inverse_temperature", 1 / head.temperature_, np.float32)
    powers = builder.add("Pow", [relative, power], "head/powers")
    whole = builder.add("ReduceSum", [powers, last], "head/whole", keepdims=1)
    builder.add("Div", [powers, whole], probabilities)


def fill_ensemble(node: NodeProto, trees: Trees, features: int, classes: int) -> None:
    """Fill a TreeEnsembleRegressor so that it sums leaf shares, float32 [N, classes], of rows [N, 2 * features].

    Attributes come in alphabetical order: equal forests give equal bytes.
    """
    sizes = np.diff(trees.starts)
    tree_id = np.repeat(np.arange(trees.count), sizes)
    first = np.repeat(trees.starts[:-1], sizes)
    node_id = np.arange(len(trees.feature)) - first
    leaf = trees.feature == LEAF
    entries = np.diff(trees.leaf_starts)
    left, right = np.where(leaf, 0, node_id + 1), trees.right
    larger_left = ~leaf & (2 * right - left > subtree_ends(trees) - first)
    below_negated = np.nextafter(-trees.threshold, np.float32(-np.inf))
    _put(node, "n_targets", classes)
    _put(node, "nodes_falsenodeids", np.where(larger_left, left, right))
    _put(node, "nodes_featureids", np.where(leaf, 0, trees.feature + features * larger_left))
    _put(node, "nodes_modes", [b"LEAF" if end else b"BRANCH_LEQ" for end in leaf.tolist()])
    _put(node, "nodes_nodeids", node_id)
    _put(node, "nodes_treeids", tree_id)
    _put(node, "nodes_truenodeids", np.where(larger_left, right, left))
    _put(node, "nodes_values", np.where(larger_left, below_negated, trees.threshold))
    _put(node, "target_ids", trees.leaf_class)
    _put(node, "target_nodeids", np.repeat(node_id[leaf], entries))
    _put(node, "target_treeids", np.repeat(tree_id[leaf], entries))
    _put(node, "target_weights", trees.leaf_share.astype(np.float32))


def _put(node: NodeProto, name: str, value: int | Array | Sequence[bytes]) -> None:
    # helper.make_attribute looks at the type of every value; millions of them take minutes.
    made = node.attribute.add()
    made.name = name
    if isinstance(value, int):
        made.type, made.i = AttributeProto.INT, value
    elif not isinstance(value, np.ndarray):
        made.type = AttributeProto.STRINGS
        made.strings.extend(value)
    elif value.dtype == np.float32:
        made.type = AttributeProto.FLOATS
        made.floats.extend(value.tolist())
    else:
        made.type = AttributeProto.INTS
        made.ints.extend(value.tolist())
