"""The first of two stages: fitted on folds of the training images, so that no head answers an image it has learnt from.

What a second stage is to learn from must look as it will where the model is used, on images nobody has learnt from. So
the training images are dealt into folds, one stretch of each group, since what was filmed one after the other looks
alike. The head of the other folds answers a fold's images, and its probabilities around the sampled pixels become
columns beside the core samples (`representations.auto_context`). The head the file has learns from all images.

Each head and each fold's columns are kept once they are there: a killed fit goes on after them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from drillcore.ahead import side_by_side
from drillcore.arrays import Array
from drillcore.errors import DataError, InputError, IntegrityError
from drillcore.export.assemble import PROBABILITIES
from drillcore.export.dense.context_nodes import first_stage_model
from drillcore.export.graph import IMAGES
from drillcore.export.sessions import cpu_session
from drillcore.files import write_json
from drillcore.heads.row_source import RowSource, SideBySide
from drillcore.heads.saving import load_head, save_head
from drillcore.representations.core_samples.auto_context import context_maps, read_plane
from drillcore.representations.core_samples.views import view_of

if TYPE_CHECKING:
    from drillcore.recipes.cores import ContextPlan
    from drillcore.representations.core_samples.context_spec import ContextSpec
    from drillcore.representations.core_samples.core import CoreNetwork
    from drillcore.representations.core_samples.samples import CoreSamples
    from drillcore.representations.core_samples.views import ViewSpec
    from drillcore.retrain.fitting.held_out import FitPart

COLUMNS_FILE = "columns.npy"  # float16 or float32 [N, width]


@dataclass(frozen=True, kw_only=True)
class DrilledImages:
    """The images core samples were taken from.

    Attributes:
        digests: SHA-256 of each.
        groups: of each; what was filmed together.
        image: number to uint8 [H, W, C].
        views: of each image.
    """

    digests: Sequence[str]
    groups: Sequence[str]
    image: Callable[[int], NDArray[np.uint8]]
    views: ViewSpec


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """What was fitted.

    Attributes:
        head: of all images.
        rows: the core samples with the columns beside them.
        accuracy: share of the samples that the head of the other folds answers right.
    """

    head: Any
    rows: RowSource
    accuracy: float


def fit_first_stage(
    core: CoreNetwork,
    samples: CoreSamples,
    images: DrilledImages,
    fit: FitPart,
    *,
    plan: ContextPlan,
    classes: int,
    dtype: str,
    threads: int,
    folder: Path,
) -> FirstStage:
    """Fit the first stage's heads and make the columns the second one learns from.

    Args:
        core: frozen.
        samples: of the images.
        images: those the heads may learn from.
        fit: makes a head of some of the samples.
        plan: of the stages.
        classes: of the heads.
        dtype: of the columns, float16 or float32.
        threads: images answered at a time.
        folder: for what is kept; removing it is the caller's.

    Raises:
        DataError: too few images, or none with a sample in some fold.
        OSError: the columns cannot be kept.
    """
    fold_of = stretches(images.groups, images.digests, plan.folds)[samples.images]
    for fold in range(plan.folds):
        if not (fold_of == fold).any():
            raise DataError(
                f"auto_context deals the training images into {plan.folds} folds, and one of them has no labelled "
                "pixel; take fewer folds, or more images"
            )
    folder.mkdir(parents=True, exist_ok=True)
    columns = _columns(folder, (len(samples), plan.spec.width(classes)), dtype)
    for fold in range(plan.folds):
        done = folder / f"columns{fold}.json"
        if done.is_file():
            continue
        learnt = np.flatnonzero(fold_of != fold)
        head = _kept_head(folder / f"fold{fold}", lambda: fit(learnt, folder / "growth"))  # noqa: B023 - called at once
        for numbers, found in _answered(core, head, samples, images, fold_of == fold, plan.spec, threads):
            columns[numbers] = found
        columns.flush()
        write_json(done, {"samples": int((fold_of == fold).sum())})
    head = _kept_head(folder / "all", lambda: fit(np.arange(len(samples)), folder / "growth"))
    return FirstStage(
        head=head, rows=SideBySide(samples.rows, columns), accuracy=_accuracy(columns[:, :classes], samples.targets)
    )


def stretches(groups: Sequence[str], digests: Sequence[str], folds: int) -> NDArray[np.int64]:
    """Deal images into folds: a stretch of each group, in the order given; groups of fewer images whole, in turn.

    Args:
        groups: of each image, N.
        digests: of each image; equal images are in one fold.
        folds: 2 or more.

    Returns:
        the fold of each image, int64 [N].
    """
    members: dict[str, dict[str, int]] = {}
    grouped: dict[str, str] = {}
    for digest, group in zip(digests, groups, strict=True):
        # An image given twice counts where it came first.
        own = members.setdefault(grouped.setdefault(digest, group), {})
        own.setdefault(digest, len(own))
    small = itertools.cycle(range(folds))
    whole = {group: next(small) for group, own in members.items() if len(own) < folds}
    result = []
    for digest in digests:
        group = grouped[digest]
        own = members[group]
        result.append(whole[group] if group in whole else own[digest] * folds // len(own))
    return np.array(result, np.int64)


def _columns(folder: Path, shape: tuple[int, int], dtype: str) -> Any:
    """Return the table of columns, mapped; where it is not there as it should be, no fold's columns are."""
    path = folder / COLUMNS_FILE
    try:
        found = np.lib.format.open_memmap(path, "r+")
        if found.shape == shape and found.dtype == dtype:
            return found
    except (OSError, ValueError):
        pass
    for done in folder.glob("columns*.json"):
        done.unlink()
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def _kept_head(folder: Path, fit: Callable[[], Any]) -> Any:
    try:
        return load_head(folder)
    except (InputError, IntegrityError):  # none is there, or half of one
        head = fit()
    save_head(folder, head)
    return head


def _answered(
    core: CoreNetwork,
    head: Any,
    samples: CoreSamples,
    images: DrilledImages,
    chosen: NDArray[np.bool_],
    spec: ContextSpec,
    threads: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield numbers of the chosen samples, int64 [n], and their columns, float32 [n, width], image by image."""
    session = cpu_session(first_stage_model(core, head), 1)
    number = np.flatnonzero(chosen)
    starts = np.flatnonzero(np.diff(samples.images[number], prepend=-1))
    parts = np.split(number, starts[1:])

    def work(place: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        own = parts[place]
        whole = images.image(int(samples.images[own[0]]))
        digest, made = images.digests[int(samples.images[own[0]])], []
        for view in np.unique(samples.views[own]):
            mine = own[samples.views[own] == view]
            pixels = view_of(images.views, digest, int(view)).of_image(whole)
            (found,) = session.run([PROBABILITIES], {IMAGES: pixels[None]})
            with torch.inference_mode():
                maps = context_maps(spec, torch.from_numpy(found)).contiguous(memory_format=torch.channels_last)
                columns = read_plane(maps, pixels.shape[:2], samples.ys[mine], samples.xs[mine])
            made.append((mine, columns.numpy()))
        return made

    for made in side_by_side(work, len(parts), threads, "answering images held out"):
        yield from made


def _accuracy(probabilities: Array, truth: Array) -> float:
    right = 0
    for first in range(0, len(truth), 1 << 16):
        part = slice(first, first + (1 << 16))
        right += int((probabilities[part].argmax(axis=1) == truth[part]).sum())
    return right / max(len(truth), 1)
