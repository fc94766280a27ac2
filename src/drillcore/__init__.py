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

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drillcore.api import Figures as Figures
    from drillcore.api import Images as Images
    from drillcore.api import LoadedModel as LoadedModel
    from drillcore.api import Segments as Segments
    from drillcore.api import TrainedModel as TrainedModel
    from drillcore.api import load_folder as load_folder
    from drillcore.api import load_model as load_model
    from drillcore.api import score as score
    from drillcore.api import segments as segments
    from drillcore.api import train as train

__version__ = "0.1.0"

# Imported when first asked for: `import drillcore` stays instant, for the command line too.
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
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from drillcore import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
