"""Versions of the data: DVC brings the landing zone to `data/`, keeps every version and its digest in `data.dvc`.

The only package that imports dvc, and it does so late.
"""

from drillcore.versions.bringing import Version, data_dvc_text, pull, push, restore, roll_back, update
from drillcore.versions.repository import check_remote, ensure
from drillcore.versions.tree import (
    Entry,
    current_tree,
    dataset_digests,
    hand_edits,
    outs_md5,
    refuse_hand_edits,
    stats,
    stats_digests,
)

__all__ = [
    "Entry",
    "Version",
    "check_remote",
    "current_tree",
    "data_dvc_text",
    "dataset_digests",
    "ensure",
    "hand_edits",
    "outs_md5",
    "pull",
    "push",
    "refuse_hand_edits",
    "restore",
    "roll_back",
    "stats",
    "stats_digests",
    "update",
]
