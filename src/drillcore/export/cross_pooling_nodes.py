"""Cross-layer pooling as ONNX nodes: the PCA is a convolution, equation 2 one matrix product per part (paper 003)."""

from __future__ import annotations

import numpy as np

from drillcore.arrays import Array, Floats
from drillcore.export.assemble import write_stored
from drillcore.export.builder import GraphBuilder
from drillcore.export.scope import Scope
from drillcore.export.writing import RowsWriter
from drillcore.representations.cross_pooling.cross_rows import CrossPooling
from drillcore.representations.cross_pooling.layout import Part, Place, pca_of
from drillcore.representations.cross_pooling.pooling import LENGTH, NOTHING, inner

_NEAR = 1e-4  # of the largest pooled number: what rounding of a sum may be
_LEAST = 1e-30  # of a pooled number that is divided by: 0 stays 0


class CrossPoolingWriter(RowsWriter):
    """From activations to rows: parts, what stands beside, and how the store keeps them."""

    exact = False  # sums round in another order

    @property
    def pooling(self) -> CrossPooling:
        """Of the run."""
        found = self.run.representation
        assert isinstance(found, CrossPooling), "named in its row of the catalogue"  # noqa: S101
        return found

    def write_rows(self, builder: GraphBuilder, activations: str, rows: str) -> None:
        """Write nodes from activations float32 [N, A] to rows float32 [N, D]."""
        plan, layout = self.pooling.plan, self.pooling.layout
        scope = Scope(builder, "pooling", "pooling/")  # constants of its own: "whole/1" elsewhere is a scalar
        made = []
        for part in layout.parts:
            below = scope.below(part.name)  # one scope each: nodes are numbered within it
            made.append(self._normalised(below, self._part(below, activations, part), plan.normalise))
        if layout.beside is not None:
            below = scope.below("beside")
            maps = _cut(below, activations, layout.beside, range(1))
            mean = below.shape(below.op("ReduceMean", maps, below.whole(2, 3), keepdims=0), -1, layout.beside.shape[0])
            made.append(self._normalised(below, mean, "none"))
        whole = made[0] if len(made) == 1 else scope.op("Concat", *made, axis=1)
        write_stored(builder, whole, rows, dtype="float32" if plan.dtype == "sign2" else plan.dtype)

    def rows_agree(self, rows: Array, activations: Array) -> bool:
        """Whether the file's rows are those of its activations: power and sign blow rounding up near 0.

        So powers are compared before the root is taken, and signs only where the pooled number is not all but 0.
        """
        state, plan, start = self.run.state, self.pooling.plan, 0
        assert state is not None, "fitted"  # noqa: S101
        expected = self.reference().stored(activations)
        parts = self.pooling.raw_parts(activations, state)
        for number, part in enumerate(parts):
            kind = plan.normalise if number < len(self.pooling.layout.parts) else "none"
            ours, theirs = (found[:, start : start + part.shape[1]] for found in (expected, rows))
            start += part.shape[1]
            if kind == "sign":
                sure = np.abs(part) > _NEAR * np.abs(part).max(axis=1, keepdims=True)
                same = bool((ours == theirs)[sure].all())
            else:
                ours, theirs = (found * np.abs(found) if kind == "power" else found for found in (ours, theirs))
                near = _NEAR * max(float(np.abs(ours).max()), 1e-6)
                same = bool(np.allclose(theirs, ours, rtol=4e-3, atol=near))
            if not same:
                return False
        return bool(start == rows.shape[1])

    def _part(self, scope: Scope, activations: str, part: Part) -> str:
        """Write P of one part, float32 [N, K * components]."""
        plan, state = self.pooling.plan, self.run.state
        assert state is not None, "fitted"  # noqa: S101
        pca = pca_of(state, part)
        local, guide = (_cut(scope, activations, place, part.looks) for place in (part.local, part.guide))
        if plan.maps == "clipped":
            local, guide = scope.op("Relu", local), scope.op("Relu", guide)
        kept, looks = len(pca.axes), len(part.looks)
        axes = pca.axes.reshape(kept, part.local.shape[0], *plan.subarray)
        projected = self._projected(scope, local, axes, scope.array(-(pca.axes @ pca.mean), np.float32))
        (top, left), (high, wide) = inner(part.guide.shape[1:], plan.subarray)
        ends = (scope.whole(top, left), scope.whole(top + high, left + wide), scope.whole(2, 3))
        inside = scope.op("Slice", guide, *ends)
        maps = part.guide.shape[0]
        x, a = _units(scope, projected, looks, kept, high * wide), _units(scope, inside, looks, maps, high * wide)
        # onnxruntime makes one product of it and of a transposition of the last two axes before it.
        return scope.shape(scope.op("MatMul", a, scope.op("Transpose", x, perm=[0, 2, 1])), -1, maps * kept)

    def _projected(self, scope: Scope, local: str, axes: Floats, offset: str) -> str:
        """Write the PCA of all units by its axes [components, D, m, n], float32 [N * looks, components, h', w']."""
        return scope.op("Conv", local, scope.array(axes, np.float32), offset)

    def _normalised(self, scope: Scope, values: str, kind: str) -> str:
        """Write rows [N, D] as they are learnt from; a power as x / sqrt|x|: the sign's pass would take longest."""
        if kind == "sign":
            return scope.op("Sign", values)
        unit_length = self.pooling.plan.unit_length
        if kind != "power":
            length = scope.op("ReduceL2", values, scope.whole(1), keepdims=1) if unit_length else ""
            return scope.op("Div", values, _share(scope, length)) if unit_length else values
        sizes = scope.op("Max", scope.op("Abs", values), scope.array([_LEAST], np.float32))
        roots = scope.op("Sqrt", sizes)
        if unit_length:  # the sum of sizes is the squared length of the powers
            length = scope.op("Sqrt", scope.op("ReduceSum", sizes, scope.whole(1), keepdims=1))
            roots = scope.op("Mul", roots, _share(scope, length))
        return scope.op("Div", values, roots)


def _share(scope: Scope, length: str) -> str:
    """Write what numbers of rows of these lengths, float32 [N, 1], are divided by."""
    length = scope.op("Max", length, scope.array([NOTHING], np.float32))
    return scope.op("Div", length, scope.array([LENGTH], np.float32))


def _units(scope: Scope, maps: str, looks: int, width: int, units: int) -> str:
    """Write an image's units side by side, [N, width, looks * units], of maps [N * looks, width, h, w]."""
    if looks > 1:
        maps = scope.op("Transpose", scope.shape(maps, -1, looks, width, units), perm=[0, 2, 1, 3])
    return scope.shape(maps, -1, width, looks * units)


def _cut(scope: Scope, activations: str, place: Place, looks: range) -> str:
    """Write the maps of some looks at a tap, float32 [N * looks, width, h, w]."""
    first, last = place.span(looks)
    ends = (scope.whole(first), scope.whole(last), scope.whole(1))
    return scope.shape(scope.op("Slice", activations, *ends), -1, *place.shape)
