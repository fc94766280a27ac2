"""The known layouts: adding a data set is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from drillcore.datasets.base import DatasetLayout
from drillcore.datasets.layouts.baeri import BaeriLayout
from drillcore.datasets.layouts.bsds500 import Bsds500Layout
from drillcore.datasets.layouts.camvid import CamvidLayout
from drillcore.datasets.layouts.classes import ClassesLayout
from drillcore.datasets.layouts.mask_folders import MasksLayout
from drillcore.datasets.layouts.msrc import MsrcLayout
from drillcore.datasets.layouts.plankton import PlanktonLayout
from drillcore.datasets.layouts.voc import VocLayout
from drillcore.errors import UnknownNameError
from drillcore.plugins import LAYOUTS, load_plugin, names

DATASETS: Mapping[str, type[DatasetLayout]] = {
    layout.name: layout
    for layout in (
        PlanktonLayout,
        CamvidLayout,
        BaeriLayout,
        Bsds500Layout,
        MsrcLayout,
        VocLayout,
        ClassesLayout,
        MasksLayout,
    )
}


def get_layout(name: str) -> DatasetLayout:
    """Return a layout by name, ours or a package's (`drillcore.layouts`).

    Raises:
        UnknownNameError: no such layout; lists the known ones.
        InputError: a package offers one that cannot be loaded.
    """
    found: type[DatasetLayout] | None = DATASETS.get(name) or load_plugin(LAYOUTS, name, DatasetLayout)
    if found is None:
        hint = "images of your own: drillcore data import --layout classes|masks|voc NAME DIR"
        raise UnknownNameError("data set", name, names(LAYOUTS, DATASETS), hint)
    return found()
