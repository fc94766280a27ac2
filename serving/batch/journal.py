"""What a scoring run has finished so far: one line per committed part, so that a killed run goes on where it was."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drillcore.digests import canonical_json
from drillcore.errors import InputError
from drillcore.files import write_text
from drillcore.json_types import Json
from drillcore.locks import held_folder
from drillcore.runtime.batch.receipt import Part
from drillcore.runtime.batch.row_checksums import Checksums
from drillcore.runtime.batch.windows import SetAside

JOURNAL = ".progress"


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes two runs the same run.

    Attributes:
        model: the model's name.
        version: its version.
        model_sha256: of the ONNX file.
        inputs: rows of the input list.
        inputs_sha256: of the recorded paths in order.
        shard_rows: inputs per part.
        batch: images in a batch at most.
        options: how a dense answer is made and written; empty for other models, and left out then.
    """

    model: str
    version: int
    model_sha256: str
    inputs: int
    inputs_sha256: str
    shard_rows: int
    batch: int
    options: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "options" or self.options}

    @property
    def shards(self) -> int:
        """Number of parts."""
        return -(-self.inputs // self.shard_rows)

    def span(self, shard: int) -> tuple[int, int]:
        """Return the positions of a shard's first input and of the one after its last."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.inputs)

    def rows(self, shards: Iterable[int]) -> int:
        """Return how many inputs some shards have together."""
        return sum(stop - start for start, stop in map(self.span, shards))


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed part: the file, checksums uint32 [rows] of its rows, and what was set aside of its shard."""

    shard: int
    part: Part
    checksums: Checksums
    set_aside: list[SetAside]


class Journal:
    """The entries of an output, appended and synced one by one; a torn last line is as if it was never written.

    Args:
        output: the folder.
    """

    def __init__(self, output: Path) -> None:
        self.path = output / JOURNAL

    def read(self) -> tuple[Plan, dict[int, Entry]] | None:
        """Return the plan and the last entry of each shard, or None where there is no journal."""
        try:
            with self.path.open("rb") as stream:
                plan = Plan(**json.loads(stream.readline()))
                entries: dict[int, Entry] = {}
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    entry = parse_entry(json.loads(line))
                    entries[entry.shard] = entry
                return plan, entries
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(f"{self.path} is damaged ({error}); start anew with --overwrite") from None

    def start(self, plan: Plan, entries: dict[int, Entry]) -> None:
        """Write the journal anew, atomically. Raises OSError."""
        lines = [canonical_json(plan.as_dict()), *(format_entry(entries[shard]) for shard in sorted(entries))]
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def append(self, entry: Entry) -> None:
        """Add a committed part and sync it. Raises OSError."""
        with self.path.open("ab") as stream:
            stream.write(format_entry(entry).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Remove it: the receipt is written."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """Hold the folder against a second run; the lock ends with the process, however it ends.

    Raises:
        InputError: another run holds it.
    """
    with held_folder(output) as ours:
        if not ours:
            raise InputError(f"another run is scoring into {output}: wait for it or choose another folder")
        yield


def format_entry(entry: Entry) -> str:
    """Return an entry as one line of JSON."""
    return canonical_json(
        {
            "shard": entry.shard,
            "part": [entry.part.name, entry.part.rows, entry.part.set_aside, entry.part.sha256],
            "checksums": base64.b64encode(entry.checksums.astype("<u4").tobytes()).decode(),
            "set_aside": [[row.index, row.path, row.sha256, row.reason, row.detail] for row in entry.set_aside],
        }
    )


def parse_entry(value: Json) -> Entry:
    """Return the entry of `format_entry`. Raises ValueError, KeyError, TypeError and such."""
    checksums = np.frombuffer(base64.b64decode(value["checksums"]), "<u4").astype(np.uint32)
    return Entry(value["shard"], Part(*value["part"]), checksums, [SetAside(*row) for row in value["set_aside"]])
