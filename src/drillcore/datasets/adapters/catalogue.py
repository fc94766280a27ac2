"""The tools whose labels are read, by the name that `--layout` gives them."""

from __future__ import annotations

from collections.abc import Mapping

from drillcore.datasets.adapters.base import Adapter
from drillcore.datasets.adapters.coco import from_coco
from drillcore.datasets.adapters.tables import from_image_folder, from_table
from drillcore.datasets.adapters.yolo import from_yolo

ADAPTERS: Mapping[str, Adapter] = {
    "csv": from_table,
    "imagefolder": from_image_folder,
    "coco": from_coco,
    "yolo": from_yolo,
}
