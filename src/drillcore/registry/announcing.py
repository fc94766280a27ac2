"""Promotions, rollbacks and failed runs told by HTTP, as the Standard Webhooks specification says (v1, HMAC-SHA256).

    POST URL     webhook-id, webhook-timestamp, webhook-signature: v1,BASE64
    {"type": "model.promoted", "timestamp": "2026-01-31T12:00:00.000+00:00", "data": {"model": ..., "version": ...}}

What is to be told is noted in the state database, of a move together with the move. A try that fails is noted too, and
is made again later, by whichever command or watcher comes first; a move never waits for an address.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException
from typing import IO

from drillcore.digests import canonical_json, sha256_json
from drillcore.json_types import Json
from drillcore.settings import Settings
from drillcore.state import AliasMove, open_state
from drillcore.state.deliveries import Delivery, Notice, claim, note, note_notice

_SECONDS = 5.0  # for one try
_AGAIN = (5.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0)  # seconds until the next try; then it is given up
_TYPES = {"promote": "model.promoted", "rollback": "model.rolled_back"}

logger = logging.getLogger(__name__)


def announce(settings: Settings) -> Delivery | None:
    """Tell addresses what they are due to be told; return the first thing that could not be told now, or None.

    What could not is tried again later. An address that fails keeps nobody else waiting, and is not asked twice.

    Raises:
        StateError: the state database cannot be used.
    """
    database, failed = open_state(settings), list[Delivery]()
    while (one := claim(database, [known.url for known in failed])) is not None:
        error = _send(settings, one)
        again = _AGAIN[one.tries] if one.tries < len(_AGAIN) else None
        note(database, one, error, again_in=again)
        if error:
            logger.warning("%s was not told of %s: %s", one.host, one.what, error)
            failed.append(one)
    return failed[0] if failed else None


def tell(settings: Settings, kind: str, data: Json) -> None:
    """Tell the addresses of the settings of something that is no move; what could not be told now is tried again.

    Args:
        settings: the addresses; where there are none, nothing happens.
        kind: the message's `type`, such as "run.failed".
        data: plain values for JSON.

    Raises:
        StateError: the state database cannot be used.
    """
    if not settings.webhooks:
        return
    body: Json = {"type": kind, "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"), "data": data}
    note_notice(open_state(settings), Notice(_named(body), body), settings.webhooks)
    announce(settings)


def message(told: AliasMove | Notice) -> tuple[str, Json]:
    """Return the id and the body of what is told; equal for each address and each try."""
    if isinstance(told, Notice):
        return told.name, told.body
    move = told
    data: Json = {
        "model": move.model,
        "alias": move.alias,
        "version": move.version,
        "previous": move.previous,
        "sha256": move.sha256,
        "seq": move.seq,
        "who": move.who,
        "why": move.why,
    }
    body = {"type": _TYPES.get(move.action, "model.moved"), "timestamp": move.when, "data": data}
    return _named(body), body


def _named(body: Json) -> str:
    return f"msg_{sha256_json(body)[:32]}"


def signature(secret: str, name: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature` of a message; a secret that begins with `whsec_` is base64."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.new(key, f"{name}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message that was signed for one address goes to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> None:
        return None


def _send(settings: Settings, one: Delivery) -> str:
    """Send a message; return what went wrong, in one line, or an empty text."""
    name, body = message(one.told)
    data, now = canonical_json(body).encode(), int(time.time())
    headers = {"content-type": "application/json", "webhook-id": name, "webhook-timestamp": str(now)}
    try:
        if settings.webhook_secret:
            headers["webhook-signature"] = signature(settings.webhook_secret, name, now, data)
        request = urllib.request.Request(one.url, data=data, headers=headers, method="POST")  # noqa: S310 - http(s) alone
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}"
    except (OSError, HTTPException, ValueError) as error:  # an address, or a secret, that cannot be used
        return " ".join(str(error).split())[:300] or type(error).__name__
