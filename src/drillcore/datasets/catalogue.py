"""The known layouts: adding a data set is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from drillcore.datasets.baeri import BaeriLayout
from drillcore.datasets.base import DatasetLayout
from drillcore.datasets.camvid import CamvidLayout
from drillcore.datasets.classes import ClassesLayout
from drillcore.datasets.masks import MasksLayout
from drillcore.datasets.plankton import PlanktonLayout
from drillcore.errors import UnknownNameError

DATASETS: Mapping[str, type[DatasetLayout]] = {
    layout.name: layout for layout in (PlanktonLayout, CamvidLayout, BaeriLayout, ClassesLayout, MasksLayout)
}


def get_layout(name: str) -> DatasetLayout:
    """Return a layout by name.

    Raises:
        UnknownNameError: no such layout; lists the known ones.
    """
    try:
        return DATASETS[name]()
    except KeyError:
        raise UnknownNameError(
            "data set", name, DATASETS, "images of your own: drillcore data import --layout classes|masks NAME DIR"
        ) from None
