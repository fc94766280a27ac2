"""What a picture costs by part (table 5), and what kernels cost beside the bare product, for `bench cross-pooling`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.pooling.features import NETWORKS, Maps, build
from benchmarks.pooling.fisher import coded, learnt, unit
from benchmarks.pooling.kernels import BLOCKS, WHOLE, Pooling, fitted, projected_features, rows_of
from drillcore.export.onnx_network import OnnxNetwork
from drillcore.heads.row_source import gram
from drillcore.representations.base import State
from drillcore.representations.cross_pooling.cross_rows import CrossPooling
from drillcore.representations.cross_pooling.params import PoolingPlan

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone
    from drillcore.settings import Settings

TIMES = 9


def times(settings: Settings, maps: Maps) -> dict[str, float]:
    """Return seconds of one picture on one thread.

    `backbone`, `backbone_onnx`: a forward pass of one look by torch and by onnxruntime; `pooling`, `pooling_blocks`: of
    its maps, and of four blocks', as the store's rows are made: with local features, PCA and normalisation; `fisher`:
    sparse-coding Fisher vectors of the same local features.
    """
    import torch
    from threadpoolctl import threadpool_limits

    network = NETWORKS[maps.key]
    backbone = build(settings, maps.key, maps.pictures.side)
    x = torch.zeros(1, 3, maps.pictures.side, maps.pictures.side)
    one = np.arange(1)
    onnx = OnnxNetwork(backbone, network.pair45, backbone.resize)
    works: dict[str, Callable[[], Any]] = {
        "backbone": lambda: backbone.forward_taps(x, network.pair45),
        "backbone_onnx": lambda: onnx.forward_taps(x, network.pair45),
    }
    for name, looks in (("pooling", WHOLE), ("pooling_blocks", BLOCKS)):
        works[name] = _bound(maps, backbone, looks)
    atoms, pca = learnt(maps), fitted(maps, Pooling())
    works["fisher"] = lambda: coded(unit(projected_features(maps, Pooling(), pca, one)), atoms)
    torch.set_num_threads(1)
    with threadpool_limits(1, "blas"):
        return _in_turn(works)


def _bound(maps: Maps, backbone: Backbone, looks: tuple[int, int]) -> Callable[[], Any]:
    """Return the representation's work on the activations of the first picture, in memory."""
    whole, pca = looks == WHOLE, fitted(maps, Pooling(looks=looks))
    plan = PoolingPlan(components=len(pca.axes), blocks=None if whole else (2, 2), whole=whole)
    representation = CrossPooling(plan)
    representation.look(backbone, NETWORKS[maps.key].pair45)
    cut = [maps[name][:1, slice(*looks)].reshape(1, -1) for name in ("x45", "a45")]
    activations = np.concatenate(cut, axis=1).astype(np.float32)
    state = State({"0/mean": pca.mean, "0/axes": pca.axes})
    return lambda: representation.transform(activations, state)


def kernel_times(maps: Maps) -> dict[str, float]:
    """Return seconds of the kernel of CL-45 rows kept as float16, and of the bare product of the same in float32.

    Both compute half of the products: numpy's of a matrix with itself turned is BLAS's syrk.
    """
    from threadpoolctl import threadpool_limits

    rows = rows_of(maps, Pooling())
    whole = rows.astype(np.float32)
    with threadpool_limits(1, "blas"):
        return _in_turn({"matmul": lambda: whole @ whole.T, "gram": lambda: gram(rows)}, count=3)


def _in_turn(works: dict[str, Callable[[], Any]], count: int = TIMES) -> dict[str, float]:
    """Return the median seconds of the processor, each taken in turn so that what else runs falls on all."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(count):
        for name, work in works.items():
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}
