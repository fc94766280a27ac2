"""drillcore from Python: load a folder of classes, train, evaluate, export and score, in any folder.

The stages are those of the command line, without Prefect, MLflow, DVC or a checkout. A model that is to be versioned,
gated and retrained by a schedule belongs into a recipe: `drillcore new`, then `drillcore retrain`.
"""

from drillcore.api.image_segments import Segments, segments
from drillcore.api.images import Images, load_folder
from drillcore.api.loaded_model import LoadedModel, load_model
from drillcore.api.scored_frame import score
from drillcore.api.trained_model import Figures, TrainedModel, train

__all__ = [
    "Figures",
    "Images",
    "LoadedModel",
    "Segments",
    "TrainedModel",
    "load_folder",
    "load_model",
    "score",
    "segments",
    "train",
]
