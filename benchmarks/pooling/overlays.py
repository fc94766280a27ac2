"""Figure 4 of paper 003: maps of conv t + 1 laid over pictures, and how sparse they are, for `bench cross-pooling`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pooling.features import Floats, Maps
from benchmarks.pooling.kernels import SEED

TILE, GAP = 112, 4  # pixels
SEEN = 200  # pictures that sparsity is measured on
SETS = ("flowers17", "scene15")


def sparsity(maps: Maps) -> dict[str, float]:
    """Return how sparse the maps of conv t + 1 of whole training pictures are.

    `zero`, `negative`: shares of the numbers; `best_tenth`: the share of what is positive in a map that its strongest
    tenth of cells has (a flat map: 0.1).
    """
    chosen = np.flatnonzero(maps.pictures.splits == "train")[:SEEN]
    values = maps["a45"][chosen, 0].astype(np.float32).reshape(len(chosen), maps["a45"].shape[2], -1)
    positive = np.sort(np.maximum(values, 0), axis=2)[:, :, ::-1]
    total = positive.sum(axis=2)
    best = positive[:, :, : max(1, round(values.shape[2] / 10))].sum(axis=2)
    alive = total > 0
    return {
        "zero": float((values == 0).mean()),
        "negative": float((values < 0).mean()),
        "best_tenth": float((best[alive] / total[alive]).mean()),
    }


def write_overlays(pieces: Sequence[Maps], folder: Path) -> list[str]:
    """Write a JPEG for each network and return their names.

    Of each set two pictures under maps drawn at random, and two maps drawn at random over the pictures that excite them
    most.
    """
    folder.mkdir(exist_ok=True)
    names = []
    for key in dict.fromkeys(maps.key for maps in pieces):
        own = [maps for maps in pieces if maps.key == key and maps.pictures.name in SETS]
        if own:
            tiles = [row for maps in own for row in (*_pictures_rows(maps, 2), *_maps_rows(maps, 2))]
            names.append(f"maps-{key}.jpg")
            _sheet(tiles).save(folder / names[-1], quality=82)
    return names


def _pictures_rows(maps: Maps, count: int, columns: int = 7) -> list[list[Image.Image]]:
    """Return rows: a test picture, then the same under maps drawn at random that say anything there."""
    rng = np.random.default_rng(SEED)
    rows = []
    for number in rng.permutation(np.flatnonzero(maps.pictures.splits == "test"))[:count]:
        found = np.maximum(maps["a45"][number, 0].astype(np.float32), 0)
        alive = rng.permutation(np.flatnonzero(found.max(axis=(1, 2)) > 0.5 * np.median(found.max(axis=(1, 2)))))
        picture = _picture(maps, number)
        rows.append([picture, *(_under(picture, found[unit], found[unit].max()) for unit in alive[:columns])])
    return rows


def _maps_rows(maps: Maps, count: int, columns: int = 8) -> list[list[Image.Image]]:
    """Return rows: a map drawn at random over the test pictures that excite it most."""
    rng = np.random.default_rng(SEED + 1)
    test = np.flatnonzero(maps.pictures.splits == "test")
    rows = []
    for unit in rng.permutation(maps["a45"].shape[2])[:count]:
        found = np.maximum(maps["a45"][test, 0, unit].astype(np.float32), 0)
        order = np.argsort(-found.max(axis=(1, 2)), kind="stable")[:columns]
        most = found[order[0]].max()
        rows.append([_under(_picture(maps, test[place]), found[place], most) for place in order])
    return rows


def _picture(maps: Maps, number: int) -> Image.Image:
    with Image.open(maps.pictures.paths[number]) as image:
        return image.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)


def _under(picture: Image.Image, cells: Floats, most: float) -> Image.Image:
    """Return a picture in grey under a map: warm where it is strong."""
    import matplotlib

    heat = Image.fromarray(np.asarray(cells / max(float(most), 1e-12), np.float32))
    shares = np.clip(np.asarray(heat.resize((TILE, TILE), Image.Resampling.BICUBIC)), 0, 1)
    colours = 255 * matplotlib.colormaps["jet"](shares)[:, :, :3]
    mixed = 0.55 * colours + 0.45 * np.asarray(picture.convert("L"), np.float32)[:, :, None]
    return Image.fromarray(mixed.astype(np.uint8))


def _sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    wide = max(len(row) for row in rows)
    sheet = Image.new("RGB", (wide * (TILE + GAP) - GAP, len(rows) * (TILE + GAP) - GAP), "white")
    for top, row in enumerate(rows):
        for left, tile in enumerate(row):
            sheet.paste(tile, (left * (TILE + GAP), top * (TILE + GAP)))
    return sheet
