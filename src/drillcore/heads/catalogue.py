"""The heads there are, by the name a recipe gives them: what each one is, takes and becomes, before it is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drillcore.heads.base import Head
from drillcore.plugins import HEADS as GROUP
from drillcore.plugins import attribute, names, row_of
from drillcore.schemas import Params, checked
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION, MULTILABEL

# What `fit` is given beside truths: rows [N, D]; the Gram matrix [N, N] of rows too long to be kept; rows that are the
# logits of a network trained on the same classes.
ROWS, GRAM, LOGITS = "rows", "gram", "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRow:
    """A head of the catalogue, or the one a package offers under `drillcore.heads`; "module:attribute" are parts of it.

    Attributes:
        head: its class, a `heads.base.Head`.
        params: model of its constructor's parameters; its module imports nothing that takes long.
        writer: function (builder, head, rows, answers) that writes its ONNX nodes from rows float32 [N, D] to answers
            float32 [N, K], probabilities or values.
        tasks: whose answers it gives.
        accepts: one of ROWS, GRAM, LOGITS.
        fit_splits: what it learns from.
        weighs: whether a recipe may ask for weights of single rows.
        layered: whether it is linear layers with an activation between them (`mean_, scale_, layers_, activation`),
            whose first one can be computed before maps are interpolated: dense models have all their modes with it, a
            first stage and fitted biases; with another head each pixel is answered for itself.
    """

    head: str
    params: str
    writer: str
    tasks: tuple[str, ...]
    accepts: str = ROWS
    fit_splits: tuple[str, ...] = ("train", "val")  # paper 004, II.B.1: the second stage learns from both
    weighs: bool = True
    layered: bool = False


_PIXELS = (CLASSIFICATION, DENSE_LABELS)
HEADS: Mapping[str, HeadRow] = {
    "logistic": HeadRow(
        head="drillcore.heads.logistic:LogisticHead",
        params="drillcore.heads.logistic_params:LogisticParams",
        writer="drillcore.export.heads.logistic_nodes:write_logistic",
        tasks=_PIXELS,
    ),
    "linear_svm": HeadRow(
        head="drillcore.heads.svm.linear_svm:LinearSvmHead",
        params="drillcore.heads.svm.params:LinearSvmParams",
        writer="drillcore.export.heads.linear_svm_nodes:write_linear_svm",
        tasks=(*_PIXELS, MULTILABEL),
    ),
    # For rows longer than there are many, such as pooled maps.
    "dual_svm": HeadRow(
        head="drillcore.heads.svm.dual_svm:DualSvmHead",
        params="drillcore.heads.svm.params:DualSvmParams",
        writer="drillcore.export.heads.dual_svm_nodes:write_dual_svm",
        tasks=(CLASSIFICATION, MULTILABEL),
        accepts=GRAM,
        weighs=False,
    ),
    # An answer costs as many kernel values as there are training rows: too much for each pixel.
    "kernel_svm": HeadRow(
        head="drillcore.heads.svm.kernel_svm:KernelSvmHead",
        params="drillcore.heads.svm.params:KernelSvmParams",
        writer="drillcore.export.heads.kernel_svm_nodes:write_kernel_svm",
        tasks=(CLASSIFICATION,),
    ),
    "forest": HeadRow(
        head="drillcore.heads.forest.forest:ForestHead",
        params="drillcore.heads.forest.params:ForestParams",
        writer="drillcore.export.heads.forest_nodes:write_forest",
        tasks=_PIXELS,
        weighs=False,
    ),
    "extra_trees": HeadRow(
        head="drillcore.heads.forest.extra_trees:ExtraTreesHead",
        params="drillcore.heads.forest.params:ExtraTreesParams",
        writer="drillcore.export.heads.forest_nodes:write_forest",
        tasks=_PIXELS,
        weighs=False,
    ),
    # Its temperature is fitted on what the network has not learnt from.
    "softmax": HeadRow(
        head="drillcore.heads.softmax:SoftmaxHead",
        params="drillcore.heads.softmax_params:SoftmaxParams",
        writer="drillcore.export.heads.softmax_nodes:write_softmax",
        tasks=(CLASSIFICATION,),
        accepts=LOGITS,
        fit_splits=("val",),
    ),
    "adaptation": HeadRow(
        head="drillcore.heads.adaptation.head:AdaptationHead",
        params="drillcore.heads.adaptation.params:AdaptationParams",
        writer="drillcore.export.heads.adaptation_nodes:write_adaptation",
        tasks=(MULTILABEL,),
    ),
    "dbn": HeadRow(
        head="drillcore.heads.dbn.dbn:DbnHead",
        params="drillcore.heads.dbn.params:DbnParams",
        writer="drillcore.export.heads.dbn_nodes:write_dbn",
        tasks=_PIXELS,
        layered=True,
    ),
    "dbn_regressor": HeadRow(
        head="drillcore.heads.dbn.dbn:DbnRegressor",
        params="drillcore.heads.dbn.params:DbnRegressorParams",
        writer="drillcore.export.heads.dbn_nodes:write_dbn_values",
        tasks=(DENSE_REGRESSION,),
        layered=True,
    ),
}


def head_names() -> list[str]:
    """Return the names of all heads, those of other packages last."""
    return names(GROUP, HEADS)


def head_row(name: str) -> HeadRow:
    """Return the row of a head.

    Raises:
        UnknownNameError: no such head; names the known ones.
        InputError: a package offers one that cannot be loaded.
    """
    return row_of(GROUP, "head", name, HEADS)


def head_class(name: str) -> type[Head]:
    """Return the class of a head; raises UnknownNameError."""
    found: type[Head] = attribute(head_row(name).head)
    return found


def head_params(name: str) -> type[Params]:
    """Return the model of a head's parameters; its class is not imported. Raises UnknownNameError."""
    found: type[Params] = attribute(head_row(name).params)
    return found


def build_head(name: str, params: Mapping[str, object] | None = None, **more: object) -> Head:
    """Make a head that is not fitted.

    Args:
        name: of a head.
        params: the recipe's parameters.
        more: what a retrain offers (n_classes, seed, n_jobs, threads, device); a head is given those it has a
            parameter for, and the recipe's own values win.

    Raises:
        UnknownNameError: no such head.
        InputError: a parameter that it does not have, or a value that cannot be used.
    """
    known = head_params(name)
    given = {**{key: value for key, value in more.items() if key in known.model_fields}, **(params or {})}
    checked(known, given, f"head {name!r}")
    return head_class(name)(**given)
