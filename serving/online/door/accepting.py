"""Which media type a client takes: RFC 9110, section 12.5.1."""

from __future__ import annotations

from collections.abc import Sequence

from drillcore_serving.online.problems import RefusedError

_MAX_RANGES = 32
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/x-png": "image/png",
    "image/tif": "image/tiff",
}  # not registered, but sent


def choose(accept: str, offers: Sequence[str]) -> str:
    """Return the offer that the client likes best; the first of those it likes alike.

    Raises:
        RefusedError: 406, it takes none of them.

    >>> choose("image/png;q=0.5, image/*;q=0.9", ["application/json", "image/png", "image/jpeg"])
    'image/jpeg'
    >>> choose("image/jpg", ["application/json", "image/jpeg"])
    'image/jpeg'
    >>> choose("", ["application/json"])
    'application/json'
    """
    if not accept.strip():
        return offers[0]
    ranges = [_parsed(item) for item in accept.split(",")[:_MAX_RANGES] if item.strip()]
    best, quality = "", 0.0
    for offer in offers:
        found = max(((_fits(kind, offer), q) for kind, q in ranges), default=(0, 0.0))
        if found[0] and found[1] > quality:
            best, quality = offer, found[1]
    if not best:
        raise RefusedError(406, f"the answer comes as {', '.join(offers)}; the Accept header takes none of them")
    return best


def _parsed(item: str) -> tuple[str, float]:
    kind, *options = (part.strip().lower() for part in item.split(";"))
    kind = _ALIASES.get(kind, kind)
    quality = 1.0
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return kind, quality


def _fits(kind: str, offer: str) -> int:
    """Return how closely a range names an offer, 0 not at all."""
    if kind == offer:
        return 3
    if kind == f"{offer.partition('/')[0]}/*":
        return 2
    return 1 if kind == "*/*" else 0
