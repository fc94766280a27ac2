"""What an error of a store's client says: that one object cannot be read, or that the store does not answer.

The first sets one image aside; the second ends a run, which goes on once the store is back.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from drillcore.runtime.images.decode_worker import MISSING

UNREADABLE = "unreadable"
_GONE = (404, 410)
_LATER = (408, 425, 429)  # of 4xx: they ask to come again
# Names that no store can have.
_NAMES = (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ELOOP)


def reason_of(error: BaseException) -> str:
    """Return "missing" or "unreadable" where an object itself is at fault; empty where its store, or the way there, is.

    An error that is not known counts as the store's: no image is given up for it.
    """
    for found in _chain(error):
        status = _status(found)
        if status:
            if status in _GONE:
                return MISSING
            return UNREADABLE if 300 <= status < 500 and status not in _LATER else ""
        if isinstance(found, FileNotFoundError):
            return MISSING
        if isinstance(found, PermissionError | IsADirectoryError | NotADirectoryError):
            return UNREADABLE
        if isinstance(found, ConnectionError | TimeoutError):
            return ""
        if isinstance(found, OSError) and found.errno in _NAMES:
            return UNREADABLE
        # A URL or a bucket's name without sense: clients check them before they ask.
        if isinstance(found, ValueError) or type(found).__name__ == "ParamValidationError":
            return UNREADABLE
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those that it was made of."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int:
    """Return the status of HTTP that an error of aiohttp, botocore or a cloud's client carries, else 0."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None) or getattr(error, "status_code", None)
    return status if isinstance(status, int) and 100 <= status < 600 else 0
