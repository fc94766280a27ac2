"""Binary codes as a representation: learnt from the cells of training images, without a label (paper 002)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.progress import progress
from drillcore.representations.base import Representation, Rows, State
from drillcore.representations.binary_codes.itq import fit_itq
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_spec import CoreSpec

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.representations.binary_codes.params import CodeParams
    from drillcore.retrain.run import Run


class BinaryCodes(Representation):
    """Bits of the cells of one or more taps; what is learnt is their map to bits."""

    name = "binary_codes"
    plan: CodeParams

    def check(self, run: Run) -> None:
        """Refuse bits that do not fit the taps."""
        taps, bits = run.recipe.backbone.taps, self.plan.bits
        if len(bits) != len(taps):
            raise InputError(f"bits has {len(bits)} numbers for {len(taps)} taps; one for each is expected")
        for tap, count in zip(taps, bits, strict=True):
            if count > run.backbone.taps[tap].width:
                raise InputError(f"tap {tap} has {run.backbone.taps[tap].width} channels, too few for {count} bits")

    def unkept(self) -> str:
        """No head reads them."""
        return "codes are made of images as they are answered: nothing is kept"

    def rows(self, run: Run, table: pd.DataFrame) -> Rows:
        """Refuse: they are no rows that a head learns from."""
        raise InputError("binary codes have no rows that a head learns from")

    def core(self, run: Run) -> CoreNetwork:
        """Return the network with its taps' maps, for images of any size."""
        spec = CoreSpec(scales=(self.plan.scale,), image=False)
        return CoreNetwork(run.backbone, run.recipe.backbone.taps, spec, channels=run.channels)

    def fit(self, run: Run) -> State:
        """Learn each tap's bits from cells of the training images, drawn evenly.

        Raises:
            InputError: fewer cells than bits.
        """
        self.check(run)
        found, arrays = self._vectors(run), dict[str, Array]()
        for tap, bits, vectors in zip(run.recipe.backbone.taps, self.plan.bits, found, strict=True):
            fitted = fit_itq(vectors, bits, rotations=self.plan.rotations, seed=run.recipe.seeds.train)
            arrays[f"{tap}/weights"] = fitted.weights.astype(np.float32)
            arrays[f"{tap}/bias"] = fitted.bias.astype(np.float32)
            arrays[f"{tap}/losses"] = np.array(fitted.losses)
        return State(arrays)

    def _vectors(self, run: Run) -> list[Array]:
        """Return cells of each tap, float32 [N, D]."""
        table, core = run.manifest.rows("train"), self.core(run)
        images = run.images(table, core.channels)
        each = -(-self.plan.vectors // len(images))
        rng, drawn = np.random.default_rng(run.recipe.seeds.train), [list[Array]() for _ in core.taps]
        with progress("looking at cells", len(images), unit="images") as advance:
            for image in images:
                pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None]
                for kept, values in zip(drawn, core(pixels), strict=True):
                    cells = values[0].flatten(1).T.numpy()
                    chosen = rng.choice(len(cells), min(each, len(cells)), replace=False)
                    kept.append(cells[np.sort(chosen)].astype(np.float32))
                advance(1)
        return [np.concatenate(kept)[: self.plan.vectors] for kept in drawn]
