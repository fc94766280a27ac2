"""The tools whose labels are read, by the name that `--layout` gives them, and published sets by their own."""

from __future__ import annotations

from collections.abc import Mapping

from drillcore.datasets.adapters.base import Adapter
from drillcore.datasets.adapters.coco import from_coco
from drillcore.datasets.adapters.label_studio import from_label_studio
from drillcore.datasets.adapters.published import from_birds200, from_h3d, from_mit67
from drillcore.datasets.adapters.tables import from_image_folder, from_table
from drillcore.datasets.adapters.video import from_video
from drillcore.datasets.adapters.voc_actions import from_voc_actions
from drillcore.datasets.adapters.yolo import from_yolo

ADAPTERS: Mapping[str, Adapter] = {
    "csv": from_table,
    "imagefolder": from_image_folder,
    "coco": from_coco,
    "yolo": from_yolo,
    "mit67": from_mit67,
    "birds200": from_birds200,
    "h3d": from_h3d,
    "voc-actions": from_voc_actions,
    "label-studio": from_label_studio,
    "video": from_video,
}
TABLES = (from_table, from_image_folder)  # which may have several labels an image
PUBLISHED = (
    "mit67",
    "birds200",
    "h3d",
    "voc-actions",
)  # data sets of that name, imported without a word of their layout
