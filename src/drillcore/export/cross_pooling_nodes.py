"""Cross-layer pooling as ONNX nodes: the PCA is a convolution, equation 2 one matrix product per part (paper 003)."""

from __future__ import annotations

import numpy as np

from drillcore.arrays import Array
from drillcore.export.assemble import write_stored
from drillcore.export.builder import GraphBuilder
from drillcore.export.scope import Scope
from drillcore.export.writing import RowsWriter
from drillcore.representations.cross_pooling.cross_rows import CrossPooling
from drillcore.representations.cross_pooling.layout import Part, Place, pca_of
from drillcore.representations.cross_pooling.pooling import LENGTH, inner

_NEAR = 1e-4  # of the largest pooled number: what rounding of a sum may be


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
        kernel = scope.array(pca.axes.reshape(kept, part.local.shape[0], *plan.subarray), np.float32)
        offset = scope.array(-(pca.axes @ pca.mean), np.float32)
        projected = scope.op("Conv", local, kernel, offset)  # [N * looks, components, h', w']
        (top, left), (high, wide) = inner(part.guide.shape[1:], plan.subarray)
        ends = (scope.whole(top, left), scope.whole(top + high, left + wide), scope.whole(2, 3))
        inside = scope.op("Slice", guide, *ends)
        units, maps = high * wide, part.guide.shape[0]
        x = scope.op("Transpose", scope.shape(projected, -1, looks, kept, units), perm=[0, 1, 3, 2])
        x = scope.shape(x, -1, looks * units, kept)
        a = scope.op("Transpose", scope.shape(inside, -1, looks, maps, units), perm=[0, 2, 1, 3])
        a = scope.shape(a, -1, maps, looks * units)
        return scope.shape(scope.op("MatMul", a, x), -1, maps * kept)

    def _normalised(self, scope: Scope, values: str, kind: str) -> str:
        if kind == "sign":
            return scope.op("Sign", values)
        if kind == "power":
            values = scope.op("Mul", scope.op("Sign", values), scope.op("Sqrt", scope.op("Abs", values)))
        if not self.pooling.plan.unit_length:
            return values
        length = scope.op("ReduceL2", values, scope.whole(1), keepdims=1)
        length = scope.op("Max", length, scope.array([1e-12], np.float32))
        return scope.op("Mul", values, scope.op("Div", scope.array([LENGTH], np.float32), length))


def _cut(scope: Scope, activations: str, place: Place, looks: range) -> str:
    """Write the maps of some looks at a tap, float32 [N * looks, width, h, w]."""
    first, last = place.span(looks)
    ends = (scope.whole(first), scope.whole(last), scope.whole(1))
    return scope.shape(scope.op("Slice", activations, *ends), -1, *place.shape)
