"""Core samples and a deep belief network as one more detector of the benchmark `ships`: the recipe of `baeri`.

Network, sampling, head and exported file are the product's own; only where the images come from is the benchmark's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import DrillcoreError
from drillcore.heads.row_source import SomeRows
from drillcore.recipes import load_recipe
from drillcore.recipes.building import build_head
from drillcore.recipes.cores import core_plan
from drillcore.representations.core_samples.pixel_answers import Answers, shifted
from drillcore.retrain.fitting.core_fitting import sample_weights
from drillcore.retrain.fitting.held_out import TrainingImages, fit_bias
from drillcore.settings import Settings

if TYPE_CHECKING:
    from benchmarks.ships.baselines import Scene
    from drillcore.representations.core_samples.core import CoreNetwork
    from drillcore.representations.core_samples.samples import CoreSamples

MODEL = "baeri"


class CoreSampleDetector:
    """Learns from core samples of the other scenes.

    Args:
        settings: of the checkout with the recipe, and with the weights it names.
        quick: random weights, and a recipe cut down to seconds.
    """

    def __init__(self, settings: Settings, quick: bool) -> None:
        self.settings, self.quick = settings, quick
        self.recipe = load_recipe(settings, MODEL)

    def fit(self, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Learn, write the ONNX file and open it; return what was learned."""
        from drillcore.export.dense.assembly import dense_input_contract, export_dense
        from drillcore.representations.core_samples.core import CoreNetwork
        from drillcore.representations.core_samples.drilling import Targets
        from drillcore.representations.core_samples.samples import extract
        from drillcore.runtime.model.metadata import ModelMetadata
        from drillcore.runtime.model.session import open_model

        plan, backbone, weights = core_plan(self.recipe), *self._backbone()
        core = CoreNetwork(backbone, self.recipe.backbone.taps, plan.spec, channels=1)
        found = extract(
            core,
            [hashlib.sha256(scene.image.tobytes()).hexdigest() for scene in scenes],
            lambda number: scenes[number].image[:, :, None],
            Targets(
                digests=[hashlib.sha256(scene.mask.tobytes()).hexdigest() for scene in scenes],
                load=lambda number: scenes[number].mask,
                classes=2,
            ),
            self.settings,
            sampling=plan.sampling,
            views=plan.views,
            dtype=plan.dtype,
            storage="subset" if self.quick else "store",  # a scene's samples are drilled once for all folds
            max_rows=2000,
        )
        head = self._head(found, np.arange(len(found)))
        answers, held_out = self._answers(core, found, scenes)
        metadata = ModelMetadata(
            task="dense_labels",
            model=MODEL,
            classes=["background", "ship"],
            input=dense_input_contract(core),
            data_digest="",
            lineage="import-1",
            git="",
            dirty=False,
            recipe_sha256=self.recipe.sha256,
            weights_sha256=backbone.weights_sha256,
            seeds={},
            min_size=[1, 1],
            answers=None if answers.plain else answers.to_dict(),
        )
        path = self.settings.state / "benchmarks" / "ships.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(export_dense(core, head, mode="exact", metadata=metadata, answers=answers))
        self.model = open_model(path, device="cpu", threads=self.settings.cpu_threads)
        curve = list(getattr(head, "curve_", []))
        return {"weights": weights, "samples": len(found), "curve": curve, "held_out": held_out}

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of ship for each pixel of uint8 [H,W], float32 [H,W]."""
        answer: NDArray[np.float32] = self.model.run(image[None, :, :, None], outputs=["probabilities"])[
            "probabilities"
        ]
        return answer[0, 1]

    def _head(self, found: CoreSamples, chosen: NDArray[np.int64]) -> Any:
        """Return a head of some of the samples."""
        head = build_head(self.recipe, n_classes=2, n_jobs=self.settings.cpu_threads)
        if self.quick:
            head.epochs, head.hidden = 2, (16,)  # type: ignore[attr-defined]
        weights = sample_weights(found.weights[chosen], core_plan(self.recipe).weighted)
        rows = SomeRows(found.rows, chosen)
        return head.fit(rows, found.targets[chosen].astype(np.int64), weights)

    def _answers(
        self, core: CoreNetwork, found: CoreSamples, scenes: Sequence[Scene]
    ) -> tuple[Answers, dict[str, Any] | None]:
        """Return how values become answers, the bias fitted on training scenes held out, and what that fit found."""
        plan = core_plan(self.recipe)
        if plan.bias is None:
            return plan.answers, None
        with tempfile.TemporaryDirectory(prefix="drillcore-ships-") as folder:
            result = fit_bias(
                core,
                found,
                TrainingImages(
                    groups=[scene.group for scene in scenes],
                    image=lambda number: scenes[number].image[:, :, None],
                    labels=lambda number: scenes[number].mask,
                ),
                lambda chosen, _: self._head(found, chosen),
                plan=plan,
                mode="exact",
                seed=self.recipe.seeds.train,
                threads=self.settings.cpu_threads,
                folder=Path(folder),
            )
        return shifted(plan.answers, result.bias), dataclasses.asdict(result)

    def _backbone(self) -> tuple[Any, str]:
        from drillcore.backbones.catalogue import build_backbone

        wanted = self.recipe.backbone
        if not self.quick:
            try:
                return build_backbone(wanted.name, wanted.weights, self.settings, any_size=True), wanted.weights
            except DrillcoreError:  # no such weights on this machine: said in the report
                pass
        return build_backbone(wanted.name, "seed:0", self.settings, any_size=True), "seed:0"
