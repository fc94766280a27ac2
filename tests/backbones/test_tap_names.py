"""The table of tap names says what the networks have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from drillcore.backbones.catalogue import get_entry
from drillcore.backbones.tap_names import KNOWN, tap_names

LARGE = ("vgg16", "vgg16_conv", "alexnet_conv")  # seconds of random weights each


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in KNOWN]
)
def test_names_are_those_of_the_network(name: str) -> None:
    names = tap_names(name)
    assert names is not None
    assert len(set(names)) == len(names)
    assert set(names) == set(get_entry(name).build(2, 0, None).taps)


def test_a_wrong_tap_is_told_without_torch() -> None:
    code = """
import sys
from drillcore.errors import RecipeError
from drillcore.recipes.building import check_words
from drillcore.recipes.reading import changed_text
from pathlib import Path
text = '''schema: 1
name: shells
task: classification
dataset: {name: shells}
backbone: {name: "timm:tf_efficientnet_lite0", weights: "seed:1", taps: [pooled, blocks.7]}
head: {name: forest}
'''
try:
    check_words(changed_text(Path("shells.yaml"), text, [])[1])
except RecipeError as error:
    print(error)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told, imported = done.stdout.splitlines()
    assert "backbone.taps: unknown tap of timm:tf_efficientnet_lite0 'blocks.7' (did you mean " in told
    assert told.startswith("shells.yaml:5:")
    assert imported == "False"
