"""Rollbacks go back one by one."""

from __future__ import annotations

import pytest

from drillcore.promotion.retreat import version_before
from drillcore.state import AliasMove


def history(*steps: tuple[str, int]) -> list[AliasMove]:
    return [
        AliasMove("m", "champion", seq, version, None, action, "me", "now", "", {}, None, "done")
        for seq, (action, version) in enumerate(steps, start=1)
    ]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), None),
        ((("promote", 1),), None),
        ((("promote", 1), ("promote", 2)), 1),
        ((("promote", 1), ("promote", 2), ("promote", 2)), 1),
        ((("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2)), 1),
        ((("promote", 1), ("promote", 2), ("rollback", 1)), None),
        ((("promote", 1), ("promote", 2), ("rollback", 1), ("promote", 3)), 1),
        ((("promote", 3), ("promote", 2), ("promote", 3)), 2),
        ((("promote", 1), ("rollback", 7)), None),
    ],
)
def test_version_before(steps: tuple[tuple[str, int], ...], expected: int | None) -> None:
    assert version_before(history(*steps)) == expected
