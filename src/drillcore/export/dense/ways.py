"""Dense models as one graph: maps, the first layer at each plane's own resolution, and three ways to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drillcore.arrays import Floats
from drillcore.errors import InputError
from drillcore.export.dense.block_tables import HeadLayers, PositionRows, Table
from drillcore.export.dense.core_nodes import GREY_LEVELS, affine_of_image
from drillcore.export.dense.lattice import Lattice, write_hats, write_places, write_read
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.planes import Grid, Plane

_MERGED_FROM = 4  # pixels between the cells of a table from which on coarser tables are added to it


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLayer:
    """The first layer with standardisation taken in.

    Attributes:
        weights: by plane, float32 [width of the plane, width of the layer].
        head: its bias and what follows.
    """

    weights: dict[str, Floats]
    head: HeadLayers


def first_layer(core: CoreNetwork, head: Any, planes: Sequence[Plane] | None = None) -> FirstLayer:
    """Split a fitted head's first layer among planes: those given, or those of a core.

    (x - mean) / scale @ W + b = x @ (W / scale) + (b - mean / scale @ W); so is the affine of the image's plane.

    Raises:
        InputError: a head fitted on another number of features, or with an activation that has no ONNX form.
    """
    layers = [(np.asarray(weight, np.float64), np.asarray(bias, np.float64)) for weight, bias in head.layers_]
    if head.activation not in ("relu", "sigmoid"):
        raise InputError(f"a head with the activation {head.activation!r} has no ONNX form; relu and sigmoid have")
    weight, bias = layers[0]
    planes = core.planes if planes is None else planes
    width = sum(plane.width for plane in planes)
    if len(weight) != width:
        raise InputError(f"the head was fitted on {len(weight)} features, the core has {width}")
    mean, scale = np.asarray(head.mean_, np.float64), np.asarray(head.scale_, np.float64)
    weight = weight / scale[:, None]
    bias = bias - mean @ weight
    parts: dict[str, Floats] = {}
    start = 0
    for plane in planes:
        part = weight[start : start + plane.width]
        start += plane.width
        if plane.name == "image":
            factor, offset = affine_of_image(core)
            bias, part = bias + offset @ part, part * factor[:, None]
        parts[plane.name] = part.astype(np.float32)
    above = [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers[1:]]
    return FirstLayer(
        weights=parts, head=HeadLayers(bias=bias.astype(np.float32), layers=above, activation=head.activation)
    )


def split_planes(
    planes: Sequence[Plane], lattice: Lattice, *, as_close: bool = False
) -> tuple[list[Plane], list[list[Plane]]]:
    """Return the planes that are read at the lattice's positions before the first layer, and the others by grid.

    A plane with cells closer than the positions is read first: there are fewer positions than cells. So is one with
    cells on the positions. Where cells lie between positions and are as close, reading the whole map would take four
    copies of it at a time, and longer than projecting it: it becomes a table, unless `as_close`.
    """

    def is_read(grid: Grid) -> bool:
        if grid.relative or grid.stride > lattice.step:
            return False
        return as_close or grid.stride < lattice.step or lattice.meets(grid)

    read = [plane for plane in planes if is_read(plane.grid)]
    groups: dict[tuple[Grid, str], list[Plane]] = {}
    for plane in planes:
        if plane not in read:
            groups.setdefault((plane.grid, _source(plane)), []).append(plane)
    return read, list(groups.values())


def write_tables(
    scope: Scope, groups: Sequence[Sequence[Plane]], maps: dict[str, str], layer: FirstLayer
) -> list[Table]:
    """Return the tables of groups of planes, coarse ones added to finer ones where that changes no value.

    A table may be added to a finer one if its cells' centres are centres of the finer one too: between those it is
    linear. The finer one is extended by repeating its last cells until it covers the coarser one.
    """
    order = sorted(groups, key=lambda group: (group[0].grid.relative, -group[0].grid.stride))
    tables: list[Table] = []
    waiting: list[Table] = []  # absolute, coarse first, to be added to a finer one
    for number, group in enumerate(order):
        below = scope.below(f"plane{number}")
        grid = group[0].grid
        fits = [table for table in waiting if _is_part(table.grid, grid) and grid.stride >= _MERGED_FROM]
        last = below.op("Transpose", _joined(below, group, maps), perm=[0, 2, 3, 1])
        if fits:
            last = _write_extended(below, last, grid, fits)
        weight = np.concatenate([layer.weights[plane.name] for plane in group])
        rows = below.op("MatMul", last, below.array(weight, np.float32))  # [N, h, w, width]
        height, width = (below.side(rows, axis) for axis in (1, 2))
        for table in fits:
            rows = below.op("Add", rows, _write_raised(below, table, grid, height, width, weight.shape[1]))
        table = Table(rows=below.shape(rows, -1, weight.shape[1]), grid=grid, height=height, width=width)
        tables = [other for other in tables if other not in fits] + [table]
        waiting = [other for other in waiting if other not in fits]
        if not grid.relative:
            waiting.append(table)
    return tables


def write_rows(
    scope: Scope, read: Sequence[Plane], maps: dict[str, str], layer: FirstLayer, lattice: Lattice
) -> list[PositionRows]:
    """Return planes of which each position of a lattice takes a row; those on one grid together."""
    groups: dict[tuple[Grid, str, bool], list[Plane]] = {}
    for plane in read:
        meets = lattice.meets(plane.grid)
        # Planes that are read between their cells are on one grid afterwards.
        key = (plane.grid if meets else Grid(cells=1), _source(plane) if meets else "", plane.name == "image")
        groups.setdefault(key, []).append(plane)
    rows = []
    for number, group in enumerate(groups.values()):
        below = scope.below(f"read{number}")
        weight = np.concatenate([layer.weights[plane.name] for plane in group])
        grid = group[0].grid
        cells = None
        if lattice.meets(grid):
            image = group[0].name == "image"
            last = GREY_LEVELS if image else below.op("Transpose", _joined(below, group, maps), perm=[0, 2, 3, 1])
            cells = Table(rows=last, grid=grid, height=below.side(last, 1), width=below.side(last, 2))
        else:
            found = [write_read(below.below(plane.name), maps[plane.name], plane.grid, lattice) for plane in group]
            joined = found[0] if len(found) == 1 else below.op("Concat", *found, axis=1)
            last = below.op("Transpose", joined, perm=[0, 2, 3, 1])
        rows.append(PositionRows(rows=below.shape(last, -1, len(weight)), weight=weight, cells=cells))
    return rows


def write_upsampled(scope: Scope, values: str, lattice: Lattice) -> str:
    """Return values of a lattice [N, rows, columns, K] at every pixel by linear interpolation, [N, H, W, K].

    Both products keep the values of a pixel together.
    """
    outputs = scope.side(values, 3)
    grid = Grid(stride=float(lattice.step), origin=lattice.origin)
    for axis in (1, 0):
        cells = scope.side(values, 1 + axis)
        side = scope.side(IMAGES, 1 + axis)
        pixels = scope.cast(scope.counting(side), "float64")
        hats = write_hats(scope, write_places(scope, grid, pixels, cells, axis), cells)
        if axis == 0:
            images, columns = scope.side(values, 0), scope.side(values, 2)
            flat = scope.shape(values, images, cells, scope.op("Mul", columns, outputs))
            values = scope.shape(scope.op("MatMul", hats, flat), images, side, columns, outputs)
        else:
            values = scope.op("MatMul", hats, values)
    return values


def _source(plane: Plane) -> str:
    """Return what made a plane's map: only maps of one source have the same number of cells for certain."""
    return plane.name.partition(":")[0] if ":" in plane.name else ""


def _joined(scope: Scope, group: Sequence[Plane], maps: dict[str, str]) -> str:
    names = [maps[plane.name] for plane in group]
    return names[0] if len(names) == 1 else scope.op("Concat", *names, axis=1)


def _is_part(coarse: Grid, fine: Grid) -> bool:
    if coarse.relative or fine.relative:
        return False
    ratio, shift = coarse.stride / fine.stride, (coarse.origin - fine.origin) / fine.stride
    return ratio == int(ratio) and shift == int(shift) and shift >= 0


def _write_extended(scope: Scope, values: str, grid: Grid, coarser: Sequence[Table]) -> str:
    """Repeat the last cells of values [N, h, w, C] until they reach the last cell of each coarser table."""
    lacking = []
    for axis in (0, 1):
        own = scope.side(values, 1 + axis)
        parts = [scope.whole(0)]
        for table in coarser:
            ratio, shift = (
                round(value / grid.stride) for value in (table.grid.stride, table.grid.origin - grid.origin)
            )
            last = scope.op("Sub", (table.height, table.width)[axis], scope.whole(1))
            reach = scope.op("Add", scope.op("Mul", last, scope.whole(ratio)), scope.whole(shift + 1))
            parts.append(scope.op("Sub", reach, own))
        lacking.append(scope.op("Max", *parts))
    pads = scope.op("Concat", scope.whole(0, 0, 0, 0, 0), *lacking, scope.whole(0), axis=0)
    return scope.op("Pad", values, pads, mode="edge")


def _write_raised(scope: Scope, table: Table, grid: Grid, height: str, width: str, channels: int) -> str:
    """Return a table read at the cells of a finer grid, float32 [N, height, width, channels]."""
    scope = scope.below("raised")
    images = scope.side(IMAGES, 0)
    hats = []
    for axis, cells in enumerate((height, width)):
        place = scope.cast(scope.counting(cells), "float64")
        position = scope.op("Mul", place, scope.number(grid.stride))
        position = scope.op("Add", position, scope.number(grid.origin))
        own = (table.height, table.width)[axis]
        hats.append(write_hats(scope, write_places(scope, table.grid, position, own, axis), own))
    flat = scope.shape(table.rows, images, table.height, scope.op("Mul", table.width, scope.whole(channels)))
    rows = scope.op("MatMul", hats[0], flat)
    rows = scope.shape(rows, images, height, table.width, channels)
    return scope.op("MatMul", hats[1], rows)
