"""The journal of an output on an object store, where nothing can be appended to or renamed.

OUTPUT/.progress/plan.json       the plan
OUTPUT/.progress/00000012.json   a shard whose part is there, with its digest: written after the part
OUTPUT/.progress/claim.json      which run is at it
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator

from drillcore.digests import canonical_json
from drillcore.errors import DrillcoreError, InputError
from drillcore.remote import AnyPath, RemotePath, read_many
from drillcore_serving.batch.journal import JOURNAL, Entry, Journal, Plan, exclusive, format_entry, parse_entry

_PLAN, _CLAIM = "plan.json", "claim.json"
_ENTRY = re.compile(r"[0-9]{8,}\.json")


class RemoteJournal(Journal):
    """The entries of an output, one object each; one that cannot be read is as if it was never written.

    Args:
        output: the folder.
        check: called before each commit; raises where the output is another run's by now.
    """

    def __init__(self, output: RemotePath, check: Callable[[], None] = lambda: None) -> None:
        self.folder, self._check = output / JOURNAL, check

    def read(self) -> tuple[Plan, dict[int, Entry]] | None:
        """Return the plan and the entries, or None where there is no journal."""
        try:
            plan = Plan(**json.loads((self.folder / _PLAN).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{self.folder / _PLAN} is damaged ({error}); start anew with --overwrite") from None
        entries: dict[int, Entry] = {}
        for data in read_many(list(self._entries())):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                entry = parse_entry(json.loads(data or b""))
                entries[entry.shard] = entry
        return plan, entries

    def start(self, plan: Plan, entries: dict[int, Entry]) -> None:
        """Make the objects those of `entries`, the plan last. Raises OSError."""
        wanted = {_name(shard): entry for shard, entry in entries.items()}
        there = set()
        for path in self._entries():
            there.add(path.name)
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        for name, entry in wanted.items():
            if name not in there:
                (self.folder / name).write_bytes(format_entry(entry).encode())
        (self.folder / _PLAN).write_bytes(canonical_json(plan.as_dict()).encode())

    def append(self, entry: Entry) -> None:
        """Add a committed part. Raises OSError, and DrillcoreError where another run has taken over."""
        self._check()
        (self.folder / _name(entry.shard)).write_bytes(format_entry(entry).encode())

    def remove(self) -> None:
        """Remove it, the plan first: what is left then says nothing."""
        (self.folder / _PLAN).unlink(missing_ok=True)
        for path in self._entries():
            path.unlink(missing_ok=True)

    def _entries(self) -> Iterator[RemotePath]:
        return (path for path in self.folder.iterdir() if _ENTRY.fullmatch(path.name))


def journal_of(output: AnyPath, check: Callable[[], None] = lambda: None) -> Journal:
    """Return the journal of an output; `check` is that of `claimed`."""
    return RemoteJournal(output, check) if isinstance(output, RemotePath) else Journal(output)


@contextlib.contextmanager
def claimed(output: AnyPath) -> Iterator[Callable[[], None]]:
    """Hold an output against a second run; yields what looks whether it is still held.

    A folder of this machine is locked, and the second run refused. A store has no locks that end with their process:
    there the run that was started last takes over, and the one before stops at its next commit.

    Raises:
        InputError: another run holds the folder.
    """
    if not isinstance(output, RemotePath):
        with exclusive(output):
            yield lambda: None
        return
    path, token = output / JOURNAL / _CLAIM, uuid.uuid4().hex
    path.write_bytes(canonical_json({"run": token, "host": socket.gethostname(), "process": os.getpid()}).encode())

    def check() -> None:
        found = _claim(path)
        if found.get("run") != token:
            who = f"process {found.get('process')} on {found.get('host')}" if found else "another run, now ended,"
            raise DrillcoreError(f"{who} has taken over {output}: this run stops; what it has finished is kept")

    try:
        yield check
    finally:
        with contextlib.suppress(OSError):
            if _claim(path).get("run") == token:
                path.unlink(missing_ok=True)


def _claim(path: RemotePath) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(shard: int) -> str:
    return f"{shard:08d}.json"
