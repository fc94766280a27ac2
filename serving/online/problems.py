"""What a request is told when it is not answered: a status, one line, never a path or anything internal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from drillcore.errors import BadImageError, DrillcoreError, InputError, NoMemoryError, UnknownNameError


class RefusedError(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        message: one line for a person, free of internals.
        headers: more headers of the response.
        reason: a stable short word, empty where the status says all.
        close: whether the connection is closed after it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        reason: str = "",
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason
        self.headers = {**(headers or {}), **({"connection": "close"} if close else {})}

    def body(self) -> dict[str, str]:
        """Return the JSON of the answer: `error`, as KServe V2 has it, and `reason` where there is one."""
        return {"error": self.message, **({"reason": self.reason} if self.reason else {})}


def busy(message: str, seconds: float, status: int = 429) -> RefusedError:
    """Return a refusal that says when to come again, in whole seconds."""
    return RefusedError(status, message, headers={"retry-after": str(max(1, min(math.ceil(seconds), 3600)))})


def too_late() -> RefusedError:
    """Return the answer to a request whose deadline has passed."""
    return RefusedError(504, "the deadline has passed before the answer was there")


def problem_of(error: Exception) -> RefusedError | None:
    """Return the refusal that an error of drillcore means to whoever asked; None: nothing of theirs."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, BadImageError):
        status = 413 if error.reason == "too_large" else 422
        return RefusedError(status, _one_line(str(error)), reason=error.reason)
    if isinstance(error, UnknownNameError):
        return RefusedError(404, _one_line(str(error)))
    if isinstance(error, InputError):
        return RefusedError(400, _one_line(str(error)))
    if isinstance(error, MemoryError | NoMemoryError):
        return busy("there is no memory for it at the moment", 5, status=503)
    if isinstance(error, DrillcoreError):
        return None
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
