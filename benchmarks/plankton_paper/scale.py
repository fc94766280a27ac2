"""How much the plankton paper's benchmark computes: the real images, or the bundled sample in a quick run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from benchmarks.plankton_paper.sweeps import Heads
from drillcore.backbones.training.training_plan import TrainingPlan


def _plan(epochs: int, rate: float, patience: int = 0, batch: int = 128) -> TrainingPlan:
    return TrainingPlan(epochs=epochs, learning_rate=rate, patience=patience, batch=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is computed.

    Attributes:
        cnn1, cnn2, cnn3: plans of the trainings; CNN3's is that of its variants too, so that their times compare.
        bag: plan of the bag's other members, shorter than CNN1's.
        members: networks in the bag, CNN1 itself among them.
        epochs: of CNN1 whose features are looked at.
        epoch_trees: of a forest there.
        heads: how second stages are fitted.
        seed: of the networks; the bag's members have the ones after it.
    """

    cnn1: TrainingPlan = field(default_factory=lambda: _plan(62, 0.01))
    bag: TrainingPlan = field(default_factory=lambda: _plan(14, 0.05))
    cnn2: TrainingPlan = field(default_factory=lambda: _plan(12, 0.03, patience=4))
    cnn3: TrainingPlan = field(default_factory=lambda: _plan(30, 0.003, patience=5))
    members: int = 8
    epochs: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 24, 32, 48, 62)
    epoch_trees: int = 100
    heads: Heads = field(default_factory=Heads)
    seed: int = 7


WHOLE = Scale()
QUICK = Scale(
    cnn1=_plan(12, 0.05, batch=32),
    bag=_plan(5, 0.05, batch=32),
    cnn2=_plan(5, 0.03, patience=4, batch=32),
    cnn3=_plan(6, 0.003, patience=5, batch=32),
    epochs=(0, 1, 4, 12),
    epoch_trees=20,
    heads=Heads(trees=40, wide_trees=10, widest_rows=300, costs=(1.0, 10.0)),
)


def shortened(scale: Scale, epochs: int | None) -> Scale:
    """Return a scale with so many epochs of every training at most; None: as it is."""
    if epochs is None:
        return scale
    plans = {
        name: plan.model_copy(update={"epochs": min(epochs, plan.epochs)})
        for name in ("cnn1", "cnn2", "cnn3", "bag")
        for plan in (getattr(scale, name),)
    }
    looked_at = tuple(sorted({min(epoch, epochs) for epoch in scale.epochs}))
    return dataclasses.replace(scale, epochs=looked_at, **plans)
