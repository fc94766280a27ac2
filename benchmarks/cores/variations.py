"""What the benchmark `cores` varies, and how much of it is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from drillcore.json_types import Json

IMAGENET, RANDOM = "ImageNet", "random"
BASE = "base"
LOW, HIGH = ("conv1", "fire3", "fire5", "image"), ("fire8", "fire9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """One setting; but for one factor it is the base.

    Attributes:
        name: for records and figures.
        shown: for the report's table.
        factor: what is varied; the report has a table for each.
        pixels: of each image.
        seeds: one training each.
        weights: IMAGENET, or RANDOM: those of the run's seed.
        planes: that are kept, by name; (): all.
        share: of the images of the learnt sequences; the base learns from every second.
        head: parameters in place of the recipe's.
        costly: made after all others.
    """

    name: str
    shown: str
    factor: str
    pixels: int
    seeds: tuple[int, ...]
    weights: str = IMAGENET
    planes: tuple[str, ...] = ()
    share: float = 0.5
    head: dict[str, Any] = field(default_factory=dict)
    costly: bool = False

    def about(self, seed: int) -> dict[str, Json]:
        """Return what decides a run beside the data and the recipe."""
        return {
            "pixels": self.pixels,
            "weights": self.weights,
            "planes": list(self.planes),
            "share": self.share,
            "head": {name: list(value) if isinstance(value, tuple) else value for name, value in self.head.items()},
            "seed": seed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is computed.

    Attributes:
        street_unit: pixels of each image: the base has 3 units, others 1, 10, 30 and 100.
        ship_unit: likewise: the base has 3 units, others 0.3, 1 and 10.
        base_seeds, seeds: of the base, and of each other variation.
        folds: of the scenes.
        head: parameters in place of the recipes', for all variations.
        pretraining: epochs of fine-tuning by share of the labels.
        pretrain_epochs: of each RBM.
        thinned: every so manieth judged pixel is looked at after each epoch.
    """

    street_unit: int = 100
    ship_unit: int = 1000
    base_seeds: tuple[int, ...] = (0, 1, 2)
    seeds: tuple[int, ...] = (0, 1)
    folds: int = 4
    head: Mapping[str, Any] | None = None
    # Few labels need more epochs for as many steps.
    pretraining: tuple[tuple[float, int], ...] = ((0.01, 60), (0.1, 20), (1.0, 6))
    pretrain_epochs: int = 5
    thinned: int = 9


WHOLE = Scale()
QUICK = Scale(
    street_unit=10,
    ship_unit=50,
    base_seeds=(0, 1),
    seeds=(0,),
    folds=2,
    head={"epochs": 2, "batch": 64},
    pretraining=((0.1, 3), (1.0, 2)),
    pretrain_epochs=1,
    thinned=2,
)


def _on_both(vary: Callable[..., Variation], scale: Scale) -> list[Variation]:
    """Return what is varied on streets and on radar images alike."""
    return [
        vary(name=BASE, shown="base", factor=BASE, seeds=scale.base_seeds),
        vary(name="random", shown="random, another for each seed", factor="weights", weights=RANDOM),
        vary(name="image_only", shown="the image alone", factor="taps", planes=("image",)),
        vary(name="low", shown="conv1, fire3, fire5, image", factor="taps", planes=LOW),
        vary(name="high", shown="fire8, fire9", factor="taps", planes=HIGH),
        vary(name="linear", shown="none", factor="hidden", head={"hidden": ()}),
    ]


def street_variations(scale: Scale, epochs: int) -> list[Variation]:
    """Return the variations on streets, cheapest and most telling first; `epochs` are those of the base's head."""
    unit, seeds = scale.street_unit, scale.seeds
    vary = partial(Variation, pixels=3 * unit, seeds=seeds)
    return [
        *_on_both(vary, scale),
        vary(name="hidden_64", shown="64", factor="hidden", head={"hidden": (64,)}),
        vary(name="hidden_512_256", shown="512-256", factor="hidden", head={"hidden": (512, 256)}),
        vary(name=f"pixels_{unit}", shown=f"{unit:,}", factor="pixels", pixels=unit),
        vary(name=f"pixels_{10 * unit}", shown=f"{10 * unit:,}", factor="pixels", pixels=10 * unit),
        vary(
            name=f"pixels_{unit}_same_steps",
            shown=f"{unit:,}, {3 * epochs} epochs",
            factor="steps",
            pixels=unit,
            head={"epochs": 3 * epochs},
        ),
        vary(
            name=f"pixels_{10 * unit}_same_steps",
            shown=f"{10 * unit:,}, {max(1, epochs // 3)} epoch",
            factor="steps",
            pixels=10 * unit,
            head={"epochs": max(1, epochs // 3)},
        ),
        vary(name="quarter_of_images", shown="every fourth", factor="images", share=0.25),
        vary(name="all_images", shown="all", factor="images", share=1.0),
        vary(name=f"pixels_{30 * unit}", shown=f"{30 * unit:,}", factor="pixels", pixels=30 * unit, costly=True),
        vary(name=f"pixels_{100 * unit}", shown=f"{100 * unit:,}", factor="pixels", pixels=100 * unit, costly=True),
    ]


def ship_variations(scale: Scale) -> list[Variation]:
    """Return the variations on radar images, cheapest and most telling first."""
    unit, seeds = scale.ship_unit, scale.seeds
    vary = partial(Variation, pixels=3 * unit, seeds=seeds)
    few = 3 * unit // 10
    return [
        *_on_both(vary, scale),
        vary(name="hidden_256_128", shown="256-128", factor="hidden", head={"hidden": (256, 128)}),
        vary(name=f"pixels_{few}", shown=f"{few:,}", factor="pixels", pixels=few),
        vary(name=f"pixels_{unit}", shown=f"{unit:,}", factor="pixels", pixels=unit),
        vary(name=f"pixels_{10 * unit}", shown=f"{10 * unit:,}", factor="pixels", pixels=10 * unit, costly=True),
    ]
