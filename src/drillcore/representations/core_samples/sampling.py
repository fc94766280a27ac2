"""Which pixels of an image become core samples: uniform, balanced over classes, hard ones, or targets and their likes.

Every method divides the pixels that are not void into strata, gives each a number of samples, and takes that many of
it without replacement: the pixels of lowest rank, where a pixel's rank is a bijective 64-bit hash of its index and of
(seed, image digest, view). So the same pixels come whatever the order, the processes, the other images or the version
of a random generator; and a smaller uniform sample is part of a larger one. A sample's weight is the number of pixels
it stands for, the stratum's pixels over its samples (the inverse of its inclusion probability): the weighted samples of
an image count what its pixels would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array, Ints
from drillcore.errors import InputError
from drillcore.json_types import Json, Values
from drillcore.representations.parameters import check_names, check_whole, is_number

UNIFORM, CLASS_BALANCED, HARD, TARGETS = "uniform", "class_balanced", "hard", "targets"
METHODS = (UNIFORM, CLASS_BALANCED, HARD, TARGETS)
# Which fields a method reads beside `method`, `pixels` and `seed`; the others do not belong into its key.
_READ = {UNIFORM: (), CLASS_BALANCED: (), HARD: ("hard_share",), TARGETS: ("target_share", "ring", "bright", "shares")}


@dataclass(frozen=True, kw_only=True)
class SamplingSpec:
    """How pixels are drawn.

    Attributes:
        method: "uniform"; "class_balanced": as many of each class present, what a small class cannot give is divided
            among the others; "hard": `hard_share` from a map of hard pixels, the rest from the others; "targets": all
            pixels of classes 1 and up (but `target_share` of the samples at most), then a ring around them, bright
            background and random background in the proportions `shares`.
        pixels: samples per image and view; all pixels where an image has fewer.
        seed: of the draw.
        hard_share: share of hard pixels among the samples.
        target_share: the most that targets may be of the samples.
        ring: width of the ring around targets, pixels.
        bright: quantile of the background's grey levels (mean of the channels) from which on it is bright.
        shares: of ring, bright and random background among the samples that are no targets; their sum is 1.
    """

    method: str = UNIFORM
    pixels: int = 1000
    seed: int = 0
    hard_share: float = 0.5
    target_share: float = 0.5
    ring: int = 8
    bright: float = 0.98
    shares: tuple[float, float, float] = (0.4, 0.3, 0.3)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"sampling method {self.method!r} is not known; allowed: {', '.join(METHODS)}")
        for name, low, high in (("pixels", 1, 10**8), ("seed", 0, 2**31 - 1), ("ring", 0, 1000)):
            check_whole(getattr(self, name), low, high, f"{name} of the sampling")
        for name in ("hard_share", "target_share", "bright"):
            if not _is_share(getattr(self, name)):
                raise InputError(f"{name} of the sampling is {getattr(self, name)!r}; 0 to 1 is expected")
        if len(self.shares) != 3 or not all(map(_is_share, self.shares)) or abs(sum(self.shares) - 1) > 1e-6:
            raise InputError(f"shares of the sampling is {list(self.shares)}; three shares that sum to 1 are expected")

    @classmethod
    def from_dict(cls, params: Values) -> SamplingSpec:
        """Make a spec of a recipe's values. Raises InputError for an unknown name or a value out of range."""
        check_names(params, (item.name for item in fields(cls)), "sampling")
        values = dict(params)
        if "shares" in values:
            if not isinstance(values["shares"], (list, tuple)):
                raise InputError(f"shares of the sampling is {values['shares']!r}; a list of three is expected")
            values["shares"] = tuple(values["shares"])
        return cls(**values)

    def to_dict(self) -> Json:
        """Return plain values, only those the method reads."""
        read: Json = {name: getattr(self, name) for name in ("method", "pixels", "seed")}
        for name in _READ[self.method]:
            value = getattr(self, name)
            read[name] = [float(share) for share in value] if name == "shares" else value
        return read


@dataclass(frozen=True)
class Drawn:
    """Pixels of an image, ascending by row, then by column.

    Attributes:
        ys: rows, int64 [P].
        xs: columns, int64 [P].
        weights: pixels that each one stands for, float32 [P], 1 or more.
    """

    ys: Ints
    xs: Ints
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ys)


def draw(
    spec: SamplingSpec,
    name: str,
    size: tuple[int, int],
    *,
    labels: npt.NDArray[np.uint8] | None = None,
    classes: int = 0,
    image: npt.NDArray[np.uint8] | None = None,
    hard: npt.NDArray[np.bool_] | None = None,
) -> Drawn:
    """Draw pixels of one image.

    Args:
        spec: how.
        name: what tells this draw from others of the same seed, for instance "<image digest>|<view>".
        size: height and width.
        labels: uint8 [H, W], class indices; `classes` and above are void and never drawn. None: no pixel is void.
        classes: number of classes of `labels`.
        image: uint8 [H, W, C], for "targets".
        hard: bool [H, W], for "hard".

    Raises:
        InputError: a method without the map it reads, or maps of another size.
    """
    for what, given in (("labels", labels), ("image", image), ("hard pixels", hard)):
        if given is not None and given.shape[:2] != tuple(size):
            raise InputError(
                f"{what} of {given.shape[0]} x {given.shape[1]} came with an image of {size[0]} x {size[1]}"
            )
    total = size[0] * size[1]
    valid = np.ones(total, np.bool_) if labels is None else (labels < classes).reshape(-1)
    strata, numbers = _strata(spec, valid, labels, classes, image, hard)
    start = int.from_bytes(hashlib.sha256(f"{spec.seed}|{name}".encode()).digest()[:8], "little")
    taken = [_lowest(stratum, number, start) for stratum, number in zip(strata, numbers, strict=True)]
    each = [len(stratum) / max(1, number) for stratum, number in zip(strata, numbers, strict=True)]
    pixels = np.concatenate([*taken, np.zeros(0, np.int64)])
    order = np.argsort(pixels)
    ys, xs = np.divmod(pixels[order], size[1])
    return Drawn(ys=ys, xs=xs, weights=np.repeat(np.array(each, np.float32), numbers)[order])


def thin(drawn: Drawn, number: int, seed: int, name: str) -> Drawn:
    """Return a random part of at most `number` of the pixels, their weights raised by what was left out."""
    if len(drawn) <= number:
        return drawn
    start = int.from_bytes(hashlib.sha256(f"thin|{seed}|{name}".encode()).digest()[:8], "little")
    kept = np.sort(_lowest(np.arange(len(drawn)), number, start))
    raised = (drawn.weights[kept] * (len(drawn) / max(1, number))).astype(np.float32)
    return Drawn(ys=drawn.ys[kept], xs=drawn.xs[kept], weights=raised)


def quotas(counts: Sequence[int], shares: Sequence[float], total: int) -> list[int]:
    """Divide samples among strata: to each its share, as far as it has pixels; the rest evenly among those with more.

    Args:
        counts: pixels of each stratum.
        shares: of the samples, summing to 1.
        total: samples.

    Returns:
        whole numbers, none above its count; their sum is the lower of `total` and the sum of the counts.
    """
    given = [min(count, int(total * share + 1e-9)) for count, share in zip(counts, shares, strict=True)]
    left = min(total, sum(counts)) - sum(given)
    while left > 0:
        free = [place for place, count in enumerate(counts) if given[place] < count]
        each, over = divmod(left, len(free))
        for rank, place in enumerate(free):
            given[place] += min(counts[place] - given[place], each + (rank < over))
        left = min(total, sum(counts)) - sum(given)
    return given


def dilate(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Return where a set pixel lies within `radius` rows and columns, bool [H, W]."""
    for axis in (0, 1):
        # Windows over a running count: two passes, whatever the radius.
        side = mask.shape[axis]
        count = np.concatenate([np.zeros_like(mask.take([0], axis), np.int64), mask.cumsum(axis)], axis)
        first, last = np.maximum(np.arange(side) - radius, 0), np.minimum(np.arange(side) + radius + 1, side)
        mask = count.take(last, axis) > count.take(first, axis)
    return mask


def _strata(
    spec: SamplingSpec,
    valid: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.uint8] | None,
    classes: int,
    image: npt.NDArray[np.uint8] | None,
    hard: npt.NDArray[np.bool_] | None,
) -> tuple[list[Ints], list[int]]:
    """Return the strata, flat indices, and how many samples each gives; arguments as `draw`, `valid` bool [H * W]."""
    if spec.method == UNIFORM:
        strata = [np.flatnonzero(valid)]
        return strata, [min(spec.pixels, len(strata[0]))]
    if spec.method == CLASS_BALANCED:
        flat = _needed(labels, spec, "labels").reshape(-1)
        strata = [np.flatnonzero(flat == label) for label in np.flatnonzero(np.bincount(flat, minlength=1)[:classes])]
        return strata, quotas(
            [len(stratum) for stratum in strata], [1.0 / max(1, len(strata))] * len(strata), spec.pixels
        )
    if spec.method == HARD:
        difficult = _needed(hard, spec, "a map of hard pixels").reshape(-1) != 0
        strata = [np.flatnonzero(valid & difficult), np.flatnonzero(valid & ~difficult)]
        shares = [spec.hard_share, 1.0 - spec.hard_share]
        return strata, quotas([len(stratum) for stratum in strata], shares, spec.pixels)
    strata = _targets(spec, valid, _needed(labels, spec, "labels"), _needed(image, spec, "the image"))
    first = min(len(strata[0]), int(spec.pixels * spec.target_share))
    others = quotas([len(stratum) for stratum in strata[1:]], spec.shares, spec.pixels - first)
    # Where the background is too small for its part the targets have the rest.
    return strata, [min(len(strata[0]), spec.pixels - sum(others)), *others]


def _targets(
    spec: SamplingSpec, valid: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]
) -> list[Ints]:
    """Return targets, ring, bright and other background: flat indices."""
    target = valid & (labels.reshape(-1) > 0)
    near = dilate(target.reshape(labels.shape), spec.ring).reshape(-1) & valid & ~target
    sea = valid & ~target
    levels = (image[:, :, 0] if image.shape[2] == 1 else image.mean(axis=2, dtype=np.float32)).reshape(-1)
    limit = np.quantile(levels[sea], spec.bright) if sea.any() else np.inf
    # Above the darkest level, too: else a sea of one level would be bright everywhere.
    bright = sea & ~near & (levels >= limit) & (levels > (levels[sea].min() if sea.any() else 0))
    return [np.flatnonzero(part) for part in (target, near, bright, sea & ~near & ~bright)]


def _lowest(indices: Ints, number: int, start: int) -> Ints:
    """Return the `number` indices of lowest rank, in no order."""
    if number >= len(indices):
        return indices
    if number == 0:
        return indices[:0]
    ranks = _ranks(indices, start)
    # Ranks are spread evenly: nearly always the lowest are below this, and few others are.
    few = np.flatnonzero(ranks < np.uint64(min(1.0, 1.5 * (number + 20) / len(indices)) * (2**64 - 2**12)))
    if len(few) < number:
        few = np.arange(len(indices))
    return indices[few[np.argpartition(ranks[few], number - 1)[:number]]]


def _ranks(indices: Ints, start: int) -> npt.NDArray[np.uint64]:
    """Return splitmix64 (Steele, Lea, Flood 2014) of start + index: all different, in no order."""
    state = indices.astype(np.uint64)
    state *= np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state


def _needed(given: object, spec: SamplingSpec, what: str) -> Array:
    if given is None:
        raise InputError(f"sampling by {spec.method} needs {what}; give it, or sample by {UNIFORM}")
    return np.asarray(given)


def _is_share(value: object) -> bool:
    return is_number(value, int, float) and 0 <= value <= 1
