"""Sparse-coding Fisher vectors of local features (Liu et al. 2014, "SCFV"): what table 7 of paper 003 compares with.

A local feature x is coded as u, of few atoms of a dictionary B; its Fisher vector is the gradient of the fit by the
dictionary, (x - B u) u' (their equation 10), summed over an image, then power normalisation and one length. The
dictionary is scikit-learn's, the code is orthogonal matching pursuit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pooling.features import Maps
from benchmarks.pooling.kernels import SEED, STEP, Floats, Pooling, fitted, kept, projected_features
from drillcore.heads.row_source import gram
from drillcore.representations.cross_pooling.pooling import normalised

ATOMS, CHOSEN = 100, 10  # of the dictionary, and of a code; their dictionary has 100 too
LEARNT = 8_000  # local features the dictionary is learnt from
SETS = ("flowers17", "scene15")


def fisher_methods(maps: Maps) -> dict[str, Callable[[], npt.NDArray[np.float64]]]:
    """Return the kernel by name, for the data sets and the network it is made for."""
    if maps.key != "lite0" or maps.pictures.name not in SETS:
        return {}
    return {"SCFV": lambda: kept(maps, "scfv", lambda: gram(_rows(maps)))}


def dictionary(features: Floats) -> Floats:
    """Return atoms float32 [ATOMS, k] of length 1, learnt from local features [n, k]."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    learner = MiniBatchDictionaryLearning(
        ATOMS, batch_size=256, max_iter=10, fit_algorithm="cd", random_state=SEED, transform_algorithm="omp"
    )
    return np.asarray(learner.fit(features).components_, np.float32)


def coded(features: Floats, atoms: Floats) -> Floats:
    """Return Fisher vectors [N, ATOMS * k] of local features [N, units, k]."""
    from sklearn.decomposition import sparse_encode

    count, _, width = features.shape
    flat = features.reshape(-1, width)
    codes = sparse_encode(flat, atoms, algorithm="omp", n_nonzero_coefs=CHOSEN)
    rest = (flat - codes @ atoms).reshape(features.shape)
    return np.einsum("nui,nuj->nij", codes.reshape(count, -1, len(atoms)), rest).reshape(count, -1)


def unit(features: Floats) -> Floats:
    """Return local features, each of length 1, as they are coded."""
    length = np.sqrt(np.einsum("...i,...i->...", features, features))
    return features / np.maximum(length, 1e-12)[..., None]


def learnt(maps: Maps) -> Floats:
    """Return the dictionary of a data set's training pictures."""
    pooling = Pooling()
    pca = fitted(maps, pooling)
    rng = np.random.default_rng(SEED)
    train = rng.permutation(np.flatnonzero(maps.pictures.splits == "train"))[: LEARNT // 20]
    features = unit(projected_features(maps, pooling, pca, np.sort(train)))
    flat = features.reshape(-1, features.shape[2])
    return dictionary(flat[rng.permutation(len(flat))[:LEARNT]])


def _rows(maps: Maps) -> Any:
    pooling = Pooling()
    pca, atoms, total = fitted(maps, pooling), learnt(maps), len(maps.pictures.paths)
    rows = []
    for first in range(0, total, STEP):
        features = unit(projected_features(maps, pooling, pca, np.arange(first, min(first + STEP, total))))
        rows.append(normalised(coded(features, atoms).astype(np.float32), "power", unit_length=True))
    return np.concatenate(rows).astype(np.float16)
