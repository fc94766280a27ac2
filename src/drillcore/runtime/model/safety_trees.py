"""Tree ensembles that are trees: onnxruntime walks them by recursion, and a chain of 30,000 nodes ends the process.

The other numbers in their tables (features, classes, leaves, circles, lengths) onnxruntime 1.31 checks itself; a test
keeps watch over that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drillcore.arrays import Ints
from drillcore.errors import UnsafeModelError

if TYPE_CHECKING:
    import onnx

MAX_DEPTH = 1000  # scikit-learn's fully grown trees reach about 60
_KINDS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier")
_INTS_FIELD = 8  # of onnx.AttributeProto


def check_trees(node: onnx.NodeProto) -> None:
    """Refuse a tree ensemble whose nodes do not form trees of a moderate depth.

    Args:
        node: an `onnx.NodeProto` of any kind; others than tree ensembles pass.

    Raises:
        UnsafeModelError: one line with what is wrong.
    """
    if node.op_type not in _KINDS:
        return
    names = ("nodes_treeids", "nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids")
    values = {item.name: item for item in node.attribute}
    if len(values) != len(node.attribute) or any(name not in values for name in names):
        raise UnsafeModelError("a forest lacks one of its tables, or has one twice")
    trees, ids, yes, no = (packed_ints(values[name]) for name in names)
    if not len(trees) == len(ids) == len(yes) == len(no) > 0:
        raise UnsafeModelError("a forest's tables of nodes differ in length")
    starts, position = _positions(trees, ids)
    children = [np.where(child > 0, child + starts, -1) for child in (yes, no)]
    sizes = np.bincount(trees)[trees]
    if (yes >= sizes).any() or (no >= sizes).any():
        raise UnsafeModelError("a forest's node leads to one that does not exist")
    level = np.unique(starts)
    seen = len(level)
    depth = 0
    while len(level):
        depth += 1
        rows = position[level]
        level = np.concatenate([child[rows] for child in children])
        level = level[level >= 0]
        seen += len(level)
        if seen > len(trees):
            raise UnsafeModelError("a forest's node has two parents")
        if depth > MAX_DEPTH:
            raise UnsafeModelError(f"a forest's tree is deeper than {MAX_DEPTH} levels")


def _positions(trees: Ints, ids: Ints) -> tuple[Ints, Ints]:
    """Number the nodes of all trees in one row.

    Returns:
        For each table row the number of its tree's root, and for each number its table row.
    """
    if (trees < 0).any() or (ids < 0).any() or (trees >= len(trees)).any() or (ids >= len(ids)).any():
        raise UnsafeModelError("a forest numbers its trees or nodes out of range")
    counts = np.bincount(trees)
    starts = (np.cumsum(counts) - counts)[trees]
    places = starts + ids
    if (ids >= counts[trees]).any() or not (np.bincount(places, minlength=len(ids)) == 1).all():
        raise UnsafeModelError("a forest's nodes are not numbered from 0 in each tree")
    position = np.empty(len(ids), np.int64)
    position[places] = np.arange(len(ids))
    return starts, position


def packed_ints(attribute: onnx.AttributeProto) -> Ints:
    """Return an attribute's integers from its wire format: several times faster than number by number.

    Args:
        attribute: an `onnx.AttributeProto`.
    """
    if len(attribute.ints) == 0:
        return np.zeros(0, np.int64)
    bare = type(attribute)()
    bare.ints.MergeFrom(attribute.ints)
    data = np.frombuffer(bare.SerializeToString(), np.uint8)
    # proto2 writes each number as its own field: a tag of one byte, then seven bits per byte, the last one below 128.
    ends = np.flatnonzero(data < 128)
    tags, lasts = ends[0::2], ends[1::2]
    if len(lasts) != len(attribute.ints) or not (data[tags] == _INTS_FIELD << 3).all():
        return np.fromiter(attribute.ints, np.int64)
    lengths = lasts - tags
    if int(lengths.max()) > 5:  # 2^35 or more, or negative
        return np.fromiter(attribute.ints, np.int64)
    numbers = (data[tags + 1] & 127).astype(np.int64)
    for place in range(1, int(lengths.max())):
        rows = np.flatnonzero(lengths > place)
        numbers[rows] |= (data[tags[rows] + 1 + place] & 127).astype(np.int64) << 7 * place
    return numbers
