"""Parameters of an estimator, written once: the fields of its `params` are what its constructor takes."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import ClassVar

from sklearn.base import BaseEstimator

from drillcore.schemas import Params


class Parametrised(BaseEstimator):
    """An estimator whose constructor takes the fields of `params` in their order, with their defaults, and stores them.

    The constructor has a signature of its own: scikit-learn's `get_params`, `set_params`, `clone` and `repr` read it,
    and so do notebooks.
    """

    params: ClassVar[type[Params]]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "params" not in vars(cls):
            return
        fields = cls.params.model_fields.items()
        takes = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=one.get_default()) for name, one in fields]
        signature = Signature([Parameter("self", Parameter.POSITIONAL_ONLY), *takes])

        def store(*values: object, **given: object) -> None:
            bound = signature.bind(*values, **given)  # raises TypeError as any call does
            bound.apply_defaults()
            stored = dict(bound.arguments)
            stored.pop("self").__dict__.update(stored)

        store.__name__, store.__qualname__, store.__signature__ = "__init__", f"{cls.__qualname__}.__init__", signature  # type: ignore[attr-defined]
        cls.__init__ = store  # type: ignore[method-assign]

    def __init__(self, *values: object, **given: object) -> None:
        raise NotImplementedError("only kinds of heads that have parameters are made")
