"""`drillcore bench cores`: what each part of core sampling buys, on streets and on radar images, with its spread.

A base, the plain core (five taps at the image's own size, and the image) with the recipe's head, and one factor varied
at a time: ImageNet's weights against random ones, taps, pixels of each image, hidden sizes, images; on streets
pretraining by RBMs at three shares of the labels as well. Paper 000 claims that pretraining converges faster and that
ImageNet's features help radar images; it says nothing of the other choices.

Features are extracted once for each weights, at the most pixels; everything else is a part of that table. Each training
is a piece (`paper_pieces`) with a record, so that a run that was killed goes on. On one core of a server the whole
takes about 25 minutes, and 8 GB of disk until it is complete.

    python -m benchmarks.cores.ablations --only streets
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.cores import on_ships as ablation_ships
from benchmarks.cores import on_streets as ablation_streets
from benchmarks.cores.on_ships import Ships
from benchmarks.cores.on_streets import Streets
from benchmarks.cores.variations import (
    BASE,
    IMAGENET,
    QUICK,
    WHOLE,
    Scale,
    Variation,
    ship_variations,
    street_variations,
)
from benchmarks.cores.write_up import write_ablations
from benchmarks.pieces import NotHereError, Piece, Records, begin
from drillcore.backbones.weights.named import find_weights, stored_weights
from drillcore.digests import sha256_json
from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.recipes import Recipe, load_recipe
from drillcore.settings import Settings

NAME = "cores"
GROUPS = ("streets", "ships", "pretraining")


class Ablations:
    """The pieces of the benchmark.

    Args:
        settings: threads, weights, and beside whose checkout the real data is.
        scale: how much is computed.
        folder: for records and tables.
        files: an empty folder for the images.
        quick: the bundled samples and random weights in ImageNet's place.
    """

    def __init__(self, settings: Settings, scale: Scale, folder: Path, files: Path, *, quick: bool) -> None:
        self.settings, self.scale, self.folder, self.files, self.quick = settings, scale, folder, files, quick
        own = dict(scale.head or {})
        self.recipes = {
            group: _with_head(load_recipe(settings, module.MODEL), own)
            for group, module in (("streets", ablation_streets), ("ships", ablation_ships))
        }
        self.variations = {
            "streets": street_variations(scale, self.recipes["streets"].head.params["epochs"]),
            "ships": ship_variations(scale),
        }
        self._data: dict[str, Any] = {}
        self.records = Records(folder, sha256_json(self._sources()), self._pieces(), _say)

    def _sources(self) -> dict[str, Json]:
        """Return what tells the data from another: size and name of the zips, which are fixed releases."""
        if self.quick:
            return {"sample": True}
        found = {}
        for group, module in (("streets", ablation_streets), ("ships", ablation_ships)):
            path = self.settings.root.parent / module.REAL
            found[group] = path.stat().st_size if path.is_file() else 0
        return {"zips": dict(found)}

    def _pieces(self) -> list[Piece]:
        groups = ("streets", "ships")
        return [
            *(piece for group in groups for piece in self._trainings(group, costly=False)),
            *(self._pretraining(share, epochs) for share, epochs in self.scale.pretraining),
            *(piece for group in reversed(groups) for piece in self._trainings(group, costly=True)),
        ]

    def _trainings(self, group: str, *, costly: bool) -> list[Piece]:
        recipe = self.recipes[group]
        fixed = {"head": recipe.head.params, "taps": list(recipe.backbone.taps)}
        if group == "ships":
            fixed["sampling"] = recipe.representation.params["sampling"]
        return [
            Piece(
                name=f"{group}/{variation.name}/{seed}",
                group=group,
                about={**fixed, **variation.about(seed), "most": self._most(group)},
                make=partial(self._train, group, variation, seed),
            )
            for variation in self.variations[group]
            if variation.costly == costly
            for seed in variation.seeds
        ]

    def _train(self, group: str, variation: Variation, seed: int) -> dict[str, Any]:
        found: dict[str, Any]
        if group == "streets":
            found = self._streets().measure(variation, seed)
        else:
            found = self._ships().measure(variation, seed, whole=variation.name == BASE and seed == 0)
        return found

    def _pretraining(self, share: float, epochs: int) -> Piece:
        seeds, base = self.scale.seeds, self.variations["streets"][0]
        more = {"pretrain_epochs": self.scale.pretrain_epochs, "pretrain_batch": 128}
        variants: dict[str, dict[str, Any]] = {"relu": {}, "relu pretrained": more}
        own = Variation(name="pretraining", shown="", factor="pretraining", pixels=base.pixels, seeds=seeds)

        def make() -> dict[str, Any]:
            return self._streets().pretraining(share, own, variants, epochs=epochs, thinned=self.scale.thinned)

        head = self.recipes["streets"].head.params
        about = {"head": head, "share": share, "epochs": epochs, "seeds": list(seeds), "pixels": own.pixels, **more}
        return Piece(name=f"pretraining/{share:g}", group="pretraining", about=about, make=make)

    def _most(self, group: str) -> int:
        return 100 * self.scale.street_unit if group == "streets" else 10 * self.scale.ship_unit

    def _streets(self) -> Streets:
        if "streets" not in self._data:
            self._data["streets"] = Streets(
                self.settings,
                self.recipes["streets"],
                self._weights("streets"),
                files=self._unpacked(ablation_streets.REAL, "streets"),
                store=self.folder / "features",
                real=not self.quick,
                most=self._most("streets"),
                few=6 * self.scale.street_unit,
            )
        found: Streets = self._data["streets"]
        return found

    def _ships(self) -> Ships:
        if "ships" not in self._data:
            self._data["ships"] = Ships(
                self.settings,
                self.recipes["ships"],
                self._weights("ships"),
                files=self._unpacked(ablation_ships.REAL, "ships"),
                store=self.folder / "features",
                real=not self.quick,
                most=self._most("ships"),
                folds=self.scale.folds,
            )
        found: Ships = self._data["ships"]
        return found

    def _unpacked(self, real: Path, name: str) -> Path:
        """Return an empty folder for the images. Raises NotHereError where there are none."""
        if not self.quick and not (self.settings.root.parent / real).is_file():
            raise NotHereError(f"{real} is not beside the checkout")
        folder = self.files / name
        folder.mkdir()
        return folder

    def _weights(self, group: str) -> str:
        """Return ImageNet's weights as a recipe names them. Raises NotHereError."""
        backbone = self.recipes[group].backbone
        if self.quick:
            return "seed:1000"
        if stored_weights(self.settings, find_weights(backbone.weights, backbone.name)) is None:
            raise NotHereError(f"{IMAGENET}'s weights are not here; bring them by `drillcore weights add`")
        return backbone.weights


def _with_head(recipe: Recipe, params: Mapping[str, Any]) -> Recipe:
    return dataclasses.replace(recipe, head=dataclasses.replace(recipe.head, params={**recipe.head.params, **params}))


def run(settings: Settings, *, quick: bool = False, only: Sequence[str] | None = None) -> dict[str, Any]:
    """Make the pieces that are not there yet and write the report of all that is (not when quick).

    Args:
        settings: of the checkout with the recipes; the state folder holds records and tables.
        quick: everything on the bundled samples, small, with random weights in ImageNet's place.
        only: groups of `GROUPS`; () makes nothing and writes the report again; None: all.

    Returns:
        `<streets or ships>_<variation>_<figure>`, facts, and all records.

    Raises:
        UnknownNameError: a group there is not.
        InputError: nothing could be measured here.
    """
    torch.set_num_threads(settings.cpu_threads)
    folder = begin(settings, NAME, GROUPS, only, quick=quick)
    with tempfile.TemporaryDirectory(prefix="drillcore-cores-") as files:
        ablations = Ablations(settings, QUICK if quick else WHOLE, folder, Path(files), quick=quick)
        ablations.records.run(only)
    done = {name: value for name in ablations.records.pieces if (value := ablations.records.value(name)) is not None}
    if not done:
        reasons = "; ".join(sorted(set(ablations.records.passed_over.values())))
        raise InputError(f"nothing of the ablations has been measured{': ' if reasons else ''}{reasons}")
    if len(done) == len(ablations.records.pieces):
        shutil.rmtree(folder / "features", ignore_errors=True)
    return write_ablations(ablations, done, quick=quick)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, load: Callable[[], Settings] = Settings.load) -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="all of it on the bundled samples, small")
    parser.add_argument("--only", help=f"groups: {','.join(GROUPS)}; 'report' for none")
    given = parser.parse_args(arguments)
    only = None if given.only is None else [] if given.only == "report" else given.only.split(",")
    run(load(), quick=given.quick, only=only)


if __name__ == "__main__":
    main()
