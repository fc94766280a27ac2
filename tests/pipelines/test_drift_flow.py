"""The drift flow raises an event where answers have drifted, and the flow such an event may start runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drift_case import MODEL, evaluated, only_bars, scored

from drillcore.errors import InputError
from drillcore.settings import Settings


def test_the_flow_raises_an_event(
    retrained: tuple[Settings, dict[str, Any]], prefect: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drillcore_pipelines import drift, events, label_next

    monkeypatch.setattr("drillcore.analysis.shifts.drift.LEAST", 5)  # the small checkout is evaluated on few images
    settings, _ = retrained
    raised: list[dict[str, Any]] = []
    emit = events.emit_event
    monkeypatch.setattr(events, "emit_event", lambda **event: raised.append(event) or emit(**event))
    for module in (drift, label_next):
        monkeypatch.setattr(module, "prepared", lambda: settings)
    assert drift.drift(MODEL)["status"] == "unchanged"
    with pytest.raises(InputError, match="level 0:"):
        drift.drift(MODEL, level=0.0)  # no answer is still to come that would mend it
    inbox = only_bars(settings.state / "inbox" / MODEL)
    assert not raised
    scored(settings, inbox, settings.state / "scored" / MODEL / "1")
    state = drift.drift(MODEL, level=0.05, return_state=True)
    assert (state.name, state.is_completed()) == ("Drifted", True)
    assert [event["resource"]["prefect.resource.id"] for event in raised] == ["drillcore.model.shells-forest"]
    same = scored(settings, evaluated(settings, tmp_path / "images"), tmp_path / "same")
    assert drift.drift(MODEL, scored=[str(same)])["status"] == "stable"
    assert len(raised) == 1
    # What such an event may start.
    asked = label_next.label_next(MODEL, count=3)
    assert (asked["status"], len(asked["chosen"])) == ("chosen", 3)
    assert Path(asked["page"]).is_file()
