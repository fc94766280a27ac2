"""A classifier, exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from drillcore.export.parity import Reference


@pytest.fixture(scope="module")
def trained() -> Reference:
    """A fitted forest on the third layer of CNN1."""
    from classifier_case import fitted

    from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn

    return fitted(build_plankton_cnn("cnn1", 3, seed=1), ["layer3"])


@pytest.fixture(scope="module")
def exported(trained: Reference) -> bytes:
    """The ONNX file of it."""
    from classifier_case import export

    return export(trained)
