"""Outputs of the small retrained checkout, for tests of drift: of its own evaluation images, and of one class alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from shells import draw_shell

from drillcore import registry
from drillcore.datasets.ingest import current_manifest
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score

MODEL = "shells-forest"


def scored(settings: Settings, source: Path, output: Path) -> Path:
    registry.fetch(settings, MODEL)
    score(settings, resolve(settings, MODEL), source, output, shard_rows=4)
    return output


def evaluated(settings: Settings, folder: Path) -> Path:
    """A folder of the images that the version was evaluated on."""
    manifest = current_manifest(settings, "shells")
    folder.mkdir(parents=True)
    for number, path in enumerate(manifest.rows("test")["path"]):
        shutil.copyfile(manifest.path_of(path), folder / f"{number}.png")
    return folder


def only_bars(folder: Path, count: int = 40) -> Path:
    """Images of one class of three."""
    folder.mkdir(parents=True)
    for number in range(count):
        draw_shell("bar", 900 + number).save(folder / f"{number}.png")
    return folder
