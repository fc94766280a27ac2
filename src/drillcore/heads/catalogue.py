"""The heads there are, by the name a recipe gives them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from drillcore.errors import UnknownNameError
from drillcore.heads.base import Head, check_params

# Name to "module:class"; a module is imported when its head is asked for.
HEADS = {
    "linear_svm": "drillcore.heads.linear_svm:LinearSvmHead",
    "kernel_svm": "drillcore.heads.kernel_svm:KernelSvmHead",
    "forest": "drillcore.heads.forest:ForestHead",
    "extra_trees": "drillcore.heads.extra_trees:ExtraTreesHead",
    "softmax": "drillcore.heads.softmax:SoftmaxHead",
    "dbn": "drillcore.heads.dbn:DbnHead",
    "dbn_regressor": "drillcore.heads.dbn:DbnRegressor",
}


def head_class(name: str) -> type[Head]:
    """Return the class of a head; raises UnknownNameError."""
    if name not in HEADS:
        raise UnknownNameError("head", name, HEADS)
    module, _, attribute = HEADS[name].partition(":")
    found: type[Head] = getattr(importlib.import_module(module), attribute)
    return found


def build_head(name: str, params: Mapping[str, Any] | None = None, **more: Any) -> Head:
    """Make a head that is not fitted.

    Args:
        name: key of `HEADS`.
        params: the recipe's parameters.
        more: what the workflow offers (n_classes, seed, n_jobs, threads, device); a head takes those its constructor
            has, and the recipe's own values win.

    Raises:
        UnknownNameError: no such head.
        InputError: a parameter it does not have; values are checked by `fit`.
    """
    kind = head_class(name)
    taken = inspect.signature(kind).parameters
    given = {**{key: value for key, value in more.items() if key in taken}, **(params or {})}
    check_params(kind, given)
    return kind(**given)
