"""`drillcore.json`: what a data set says about itself; it lies beside the images and is versioned with them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from drillcore.errors import DataError
from drillcore.files import write_json

FILE_NAME = "drillcore.json"
SCHEMA = 1
SAMPLE_LINEAGE = "sample"
_LINEAGE = re.compile(r"sample|import-[1-9][0-9]{0,8}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the images cannot say themselves.

    Attributes:
        layout: name of the layout that finds images and labels.
        lineage: "sample" or "import-<n>": figures are compared inside one lineage.
        split_seed: the seed of the splits; it belongs to the data set.
    """

    layout: str
    lineage: str
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.layout, str) or not _NAME.fullmatch(self.layout):
            raise DataError(f"layout {str(self.layout)[:80]!r}: a layout's name is expected")
        if not isinstance(self.lineage, str) or not _LINEAGE.fullmatch(self.lineage):
            raise DataError(f"lineage {str(self.lineage)[:80]!r}: sample or import-<number> is expected")
        if type(self.split_seed) is not int:
            raise DataError(f"split_seed {str(self.split_seed)[:80]!r}: a whole number is expected")


def read_description(folder: Path) -> Description:
    """Return the description of the data set in `folder`.

    Raises:
        DataError: it is missing or malformed.
    """
    path = folder / FILE_NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no {FILE_NAME} in {folder}; `drillcore data import` writes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); import the data set again") from None
    expected = {"schema", "layout", "lineage", "split_seed"}
    if not isinstance(found, dict) or set(found) != expected or found.pop("schema") != SCHEMA:
        raise DataError(f"{path}: the fields {sorted(expected)} with schema {SCHEMA} are expected")
    return Description(**found)


def write_description(folder: Path, description: Description) -> None:
    """Write `description` into `folder`, atomically. Raises OSError."""
    write_json(folder / FILE_NAME, {"schema": SCHEMA, **asdict(description)})
