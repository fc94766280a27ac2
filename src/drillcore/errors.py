"""Every error drillcore raises on purpose, free of transport.

A message says what was expected, what came, and what to do next, in one line. The command line prints it and exits with
`exit_code`; the online server maps the classes to HTTP in `serving/` alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 60  # names in one message; a deep network has more taps than anybody reads


class DrillcoreError(Exception):
    """Base class: anything a user can act on."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """Return the first line of what an error of a library says, 200 characters of it; or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class InputError(DrillcoreError):
    """An argument, path or file given by the user cannot be used."""

    exit_code = 2


class RowsError(InputError, ValueError):
    """Rows, truths or weights that a head cannot use; a ValueError too, as scikit-learn expects it."""


class TooFewAnswersError(InputError):
    """Too few images were answered to say whether the answers have drifted; later there may be enough."""


class ProjectError(InputError):
    """A command that works in a project was called outside of one."""


class UnknownNameError(InputError):
    """A name that is not in a registry; the message lists the known ones.

    Args:
        kind: what is named, for instance "model" or "tap".
        name: what was asked for.
        known: the names there are.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        listed = ", ".join(names[:_LISTED]) if names else "none yet"
        listed += f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        tail = f"; {hint}" if hint else ""
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        super().__init__(f"unknown {kind} {shown!r}{meant}; known: {listed}{tail}")
        self.kind, self.name, self.known = kind, name, names


class UrlError(InputError):
    """A URL of a kind that is not read."""


class RecipeError(InputError):
    """A recipe with a wrong or unknown field: names file, line, field and what is allowed."""


class DataError(DrillcoreError):
    """A data set that cannot be imported, read or versioned."""


class LayoutError(DataError, InputError):
    """A source that is not laid out as its data set is published."""

    exit_code = 2


class QualityError(DataError):
    """A data set that fails its validation; the last good version stays."""


class BadImageError(DataError):
    """One image that is set aside.

    Attributes:
        reason: a stable short word, one of `drillcore.runtime.images.image_files.REASONS`.
        detail: one line for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class ImageTooLargeError(BadImageError):
    """An image that is larger than the model takes; its reason is `too_large`."""

    def __init__(self, detail: str) -> None:
        super().__init__("too_large", detail)


class NoMemoryError(DrillcoreError):
    """The machine, or its GPU, has no memory for what was asked; with less at a time it might be answered."""


class UnsafeModelError(InputError):
    """A model file that is refused before anything in it runs."""


class IntegrityError(DrillcoreError):
    """A file that does not match its digest."""


class SignatureError(IntegrityError):
    """A model file that no trusted key has signed, where one must have."""


class StoreError(DrillcoreError):
    """The feature store cannot be read or written."""


class ParityError(DrillcoreError):
    """The exported model does not answer as the trained one; nothing is registered."""


class GateError(DrillcoreError):
    """A promotion that is refused; carries the gate's reasons."""


class RegistryError(DrillcoreError):
    """The model registry or the tracking server cannot do what was asked."""


class StateError(DrillcoreError):
    """The state database cannot do what was asked."""


class LeaseHeldError(StateError):
    """Somebody else is at it; says who and until when."""


class ConflictError(StateError):
    """A compare-and-swap that lost its race."""


class DeviceError(DrillcoreError):
    """A device or execution provider that was asked for and is not there."""


class ReceiptError(DrillcoreError):
    """A scoring output that does not match its receipt."""
