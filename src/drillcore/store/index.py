"""Which shard holds a key: one row per key in `index.parquet`, kept in memory as a pandas table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drillcore.files import atomic_path
from drillcore.store.shards import Shard, hex_keys

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {"shard": "str", "row": "int64", "n": "int64", "crc": "int64"}


def empty_index() -> pd.DataFrame:
    """Return an index without keys: index `key`; columns shard, row (first), n (rows), crc (of the shard)."""
    import pandas as pd

    frame = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})
    frame.index = pd.Index([], dtype="str", name="key")
    return frame


def index_of_shard(name: str, shard: Shard) -> pd.DataFrame:
    """Return the index rows of one shard."""
    import pandas as pd

    first = np.concatenate([[0], np.cumsum(shard.counts)[:-1]]) if len(shard.counts) else np.zeros(0, np.int64)
    columns = {"shard": name, "row": first.astype(np.int64), "n": np.array(shard.counts), "crc": shard.crc}
    return pd.DataFrame(columns, index=pd.Index(hex_keys(shard.keys), name="key"))


def read_index(path: Path) -> pd.DataFrame:
    """Return the index at `path`; an empty one where there is none or it cannot be read (it is then made of shards)."""
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path).set_index("key")[list(COLUMNS)]
    except FileNotFoundError:
        return empty_index()
    except (pa.ArrowInvalid, OSError, KeyError):
        return empty_index()


def write_index(path: Path, frame: pd.DataFrame) -> None:
    """Replace the index at `path`, sorted by key. Raises OSError."""
    with atomic_path(path) as partial:
        frame.sort_index().reset_index().to_parquet(partial, index=False)


def merge(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one index of several; where a key is in two, the later one counts."""
    import pandas as pd

    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return empty_index()
    whole = pd.concat(filled)
    return whole[~whole.index.duplicated(keep="last")]


def positions(frame: pd.DataFrame, keys: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return where each key stands in the index, -1 where it does not."""
    return np.asarray(frame.index.get_indexer(list(keys)))  # type: ignore[arg-type]
