"""drillcore: drill cores through a pretrained network, train a light head on them, ship one ONNX file.

import drillcore

images = drillcore.load_folder("shells")                # one folder per class
model = drillcore.train(images)                         # backbone, features, forest
print(model.evaluate())                                 # on images it has not learned from
model.export("shells.onnx")                             # proven to answer as what was trained
table = drillcore.score("shells.onnx", "new-images/")   # a pandas DataFrame
drillcore.load_model("shells.onnx").predict("new.jpg")  # or "NAME@champion" in a project; arrays and PIL images too
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drillcore.api.image_segments import Segments as Segments
    from drillcore.api.image_segments import segments as segments
    from drillcore.api.images import Images as Images
    from drillcore.api.images import load_folder as load_folder
    from drillcore.api.loaded_model import LoadedModel as LoadedModel
    from drillcore.api.loaded_model import load_model as load_model
    from drillcore.api.scored_frame import score as score
    from drillcore.api.trained_model import Figures as Figures
    from drillcore.api.trained_model import TrainedModel as TrainedModel
    from drillcore.api.trained_model import train as train

__version__ = "0.1.0"

# Imported when first asked for, each alone: `import drillcore` stays instant, and what opens a model needs no training.
_HOMES = {
    "Figures": "trained_model",
    "Images": "images",
    "LoadedModel": "loaded_model",
    "Segments": "image_segments",
    "TrainedModel": "trained_model",
    "load_folder": "images",
    "load_model": "loaded_model",
    "score": "scored_frame",
    "segments": "image_segments",
    "train": "trained_model",
}
__all__ = [
    "Figures",
    "Images",
    "LoadedModel",
    "Segments",
    "TrainedModel",
    "__version__",
    "load_folder",
    "load_model",
    "score",
    "segments",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"drillcore.api.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
