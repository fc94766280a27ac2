"""What a representation learns without labels: fitted once, kept by its digest, taken again until a refresh is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drillcore.digests import sha256_json
from drillcore.files import read_object, write_bytes, write_json
from drillcore.representations.base import Representation, State
from drillcore.retrain.backbone_stage import due
from drillcore.retrain.opening import STATE_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from drillcore.retrain.run import Run

_ABOUT = "state.json"


def run_state(run: Run) -> State | None:
    """Return the state of a run: the one in its folder, the one kept for what it is made of, or one fitted now.

    Where a state is taken again `backbone.refresh` decides, as for a backbone: `never`, `always`, or the share of new
    images from which on it is fitted anew.
    """
    if type(run.representation).fit is Representation.fit:
        return None
    own = run.path / STATE_FILE
    if (found := _read(own)) is not None:
        return found
    kept = run.settings.state / "representations" / run.recipe.representation.name / _purpose(run)[:16]
    train = sorted(run.manifest.rows("train")["sha256"])
    found = None if _due(run, kept / _ABOUT, train) else _read(kept / STATE_FILE)
    if found is None:
        found = run.representation.fit(run)
        if found is None:
            return None
        write_bytes(kept / STATE_FILE, found.to_bytes())
        write_json(kept / _ABOUT, {"images": train, "sha256": found.sha256})
    write_bytes(own, found.to_bytes())
    return found


def _purpose(run: Run) -> str:
    section, backbone = run.recipe.representation, run.backbone
    return sha256_json(
        {
            "representation": {"name": section.name, "params": section.params},
            "weights": backbone.weights_sha256,
            "taps": list(run.recipe.backbone.taps),
            "preprocessing": backbone.preprocessing,
            "lineage": run.manifest.lineage,
            "seed": run.recipe.seeds.train,
        }
    )


def _due(run: Run, about: Path, train: list[str]) -> bool:
    try:
        known: Any = read_object(about)["images"]
    except (OSError, ValueError, KeyError):
        return True
    return due(run.recipe, known, train)


def _read(path: Path) -> State | None:
    try:
        return State.from_bytes(path.read_bytes())
    except (OSError, ValueError):
        return None
