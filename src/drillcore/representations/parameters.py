"""What parameters of a recipe are checked for, be they of cores, samples, views or answers: names and whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from drillcore.errors import InputError


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse the first name that is not known; `what` they are parameters of. Raises InputError.

    Example:
        >>> check_names(["seed", "pixel"], ["pixels", "seed"], "sampling")
        Traceback (most recent call last):
        drillcore.errors.InputError: pixel is not a parameter of sampling; allowed: pixels, seed
    """
    allowed = sorted(known)
    for name in given:
        if name not in allowed:
            raise InputError(f"{name} is not a parameter of {what}; allowed: {', '.join(allowed)}")


def check_whole(value: object, low: int, high: int, what: str) -> None:
    """Refuse anything but a whole number from `low` to `high`; `what` it is, for the message. Raises InputError."""
    if not is_number(value, int) or not low <= value <= high:
        raise InputError(f"{what} is {value!r}; a whole number from {low} to {high} is expected")


def is_number(value: object, *kinds: type) -> TypeGuard[float]:
    """Return whether a value is of one of `kinds`, int or float; true and false are no numbers."""
    return isinstance(value, kinds) and not isinstance(value, bool)
