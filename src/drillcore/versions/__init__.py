"""Versions of the data: DVC brings the landing zone to `data/`, keeps every version and its digest in `data.dvc`.

The only package that imports dvc, and it does so late.
"""

from drillcore.versions.bringing import Version, data_dvc_text, pull, push, remove, restore, update, write_out
from drillcore.versions.repository import check_remote, ensure
from drillcore.versions.tree import (
    Entry,
    Stat,
    current_tree,
    dataset_digests,
    files_of,
    hand_edits,
    outs_md5,
    refuse_hand_edits,
    stats,
    stats_digest,
)

__all__ = [
    "Entry",
    "Stat",
    "Version",
    "check_remote",
    "current_tree",
    "data_dvc_text",
    "dataset_digests",
    "ensure",
    "files_of",
    "hand_edits",
    "outs_md5",
    "pull",
    "push",
    "refuse_hand_edits",
    "remove",
    "restore",
    "stats",
    "stats_digest",
    "update",
    "write_out",
]
