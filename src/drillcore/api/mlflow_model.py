"""What `mlflow.pyfunc.load_model("models:/NAME@champion")` gives: a model that takes images as people have them.

MLflow is not imported here: a registered version names this module, and MLflow calls `_load_pyfunc`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.api.loaded_model import LoadedModel, load_model
from drillcore.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FILE = "model.onnx"
_INLINE = "base64,"  # a data URL, data:image/png;base64,...: over HTTP there are no bytes
_TAKEN = (
    "a path, the bytes of a file, a data URL, a uint8 array, a list of them, or a table with one column of them "
    "(of several the one named image or path)"
)


class ImageFunction:
    """A model as MLflow calls it.

    Attributes:
        model: what answers.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model

    def predict(self, model_input: object, params: Mapping[str, object] | None = None) -> pd.DataFrame:
        """Return a row for each image, in their order.

        Args:
            model_input: a path, the bytes of a file, a data URL, a uint8 array [H,W], [H,W,C] or [N,H,W,C], a list of
                such, a table with one column of them, or `{"images": ...}` with any of these.
            params: of MLflow; there are none.

        Returns:
            `label`, `probability` and `probabilities` (by class); `answered` where the model does not answer every
            image; of several labels also `labels`; of labelled pixels
            shares instead of probabilities, and `mask`, uint8 [H,W]; of values `values`, float32 [D,H,W].

        Raises:
            InputError: something else was given, or an image that the model cannot take.
            BadImageError: an image cannot be read; says why.
        """
        import pandas as pd

        answers = self.model.predict([_decoded(one) for one in _listed(model_input)])
        columns: dict[str, list[Any]] = {}
        if self.model.classes:
            columns |= {name: [getattr(one, name) for one in answers] for name in ("label", "probability")}
            if self.model.abstain is not None:
                columns["answered"] = [one.answered for one in answers]
            columns["labels"] = [one.labels for one in answers]
            columns["probabilities"] = [one.probabilities for one in answers]
        for name in ("mask", "values"):
            if any(getattr(one, name) is not None for one in answers):
                columns[name] = [getattr(one, name) for one in answers]
        return pd.DataFrame(columns)


def _load_pyfunc(path: str) -> ImageFunction:
    """Return the model in a folder of MLflow's, or the file itself."""
    found = Path(path)
    return ImageFunction(load_model(found / FILE if found.is_dir() else found))


def _listed(given: object) -> list[object]:
    """Return the images of what MLflow passes on, one by one."""
    import pandas as pd

    if isinstance(given, Mapping):
        names = list(given)
        if len(names) != 1:
            raise InputError(f"{', '.join(map(str, names))} came; {_TAKEN} is expected")
        return _listed(given[names[0]])
    if isinstance(given, pd.DataFrame):
        named = list(given.columns) if len(given.columns) == 1 else [n for n in ("image", "path") if n in given.columns]
        if not named:
            raise InputError(
                f"a table with the columns {', '.join(map(str, given.columns))} came; {_TAKEN} is expected"
            )
        return list(given[named[0]])
    if isinstance(given, pd.Series):
        return list(given)
    if isinstance(given, np.ndarray) and given.dtype != np.uint8:
        return list(given.ravel().tolist())  # of texts or bytes, as MLflow makes them of lists
    if isinstance(given, np.ndarray) and given.ndim == 4:
        return list(given)
    if isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray):
        return list(given)
    return [given]


def _decoded(one: object) -> object:
    """Return the bytes that a data URL holds; anything else as it is."""
    if not isinstance(one, str) or not one.startswith("data:"):
        return one
    _, found, text = one.partition(_INLINE)
    try:
        return base64.b64decode(text, validate=True) if found else one
    except binascii.Error:
        raise InputError("a data URL whose base64 cannot be read; data:image/png;base64,... is expected") from None
