"""Maps of labels laid over an image."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.runtime.patches.drawing import class_maps, has_maps, map_overlay, shown_classes
from drillcore.runtime.patches.patch_places import levels_of, patch_count

LOOKS = SimpleNamespace(model="pieces", input={"preprocessing": {"patches": {"lambdas": [1.0, 2.0], "window": 3}}})
PLAIN = SimpleNamespace(model="plain", input={"preprocessing": {}})


def test_maps_of_large_images_are_smaller() -> None:
    patches = np.full((patch_count(levels_of(3000, 2000, [1.0, 2.0], 3)), 2), 0.25)
    maps = class_maps(LOOKS, patches, 3000, 2000)  # type: ignore[arg-type]
    assert maps.shape == (2, 512, 341)
    np.testing.assert_allclose(maps, 0.25, rtol=1e-6)


def test_what_has_no_maps_is_refused() -> None:
    assert not has_maps(PLAIN)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="looks at no patches"):
        class_maps(PLAIN, np.zeros((4, 2)), 20, 20)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="are expected, 4 came"):
        class_maps(LOOKS, np.zeros((4, 2)), 20, 20)  # type: ignore[arg-type]


def test_what_is_there_is_shown_or_else_what_is_likeliest() -> None:
    assert shown_classes(np.array([0.7, 0.2, 0.5])) == [0, 2]
    assert shown_classes(np.array([0.1, 0.3, 0.2])) == [1]


def test_the_strongest_place_has_the_classs_colour() -> None:
    maps = np.zeros((2, 4, 6), np.float32)
    maps[1, 1, 2] = 0.3
    grey = np.full((4, 6, 1), 100, np.uint8)
    seen = map_overlay(grey, maps, [(0, 0, 0), (255, 0, 0)], [1], opacity=1.0)
    assert seen[1, 2].tolist() == [255, 0, 0]
    assert seen[3, 5].tolist() == [100, 100, 100]
    assert (map_overlay(grey, maps, [(0, 0, 0), (255, 0, 0)], [1], opacity=0.0) == 100).all()
