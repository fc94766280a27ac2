"""Two registered versions of a model that names no image: by their figures, class by class and image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.arrays import Doubles
from drillcore.datasets.manifest import Manifest
from drillcore.evaluation.figures.significance import Comparison
from drillcore.json_types import Json
from drillcore.retrain.judging.measuring import Standing, unreadable
from drillcore.retrain.opening import open_for_batches, version_file
from drillcore.retrain.records import Figures
from drillcore.retrain.run import Run

if TYPE_CHECKING:
    from drillcore.registry import ModelVersion

FIGURE_COLUMNS = ("path", "figure", "a", "b", "difference")
_COUNTS = ("support", "images", "judged_images", "pixels")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPair:
    """Two versions that were asked about the same images.

    Attributes:
        a: the first version.
        b: the second.
        manifest: of the data both were asked about.
        split: of it.
        paths: of the images, in the order of their answers.
        notes: what makes the comparison less than fair, in words.
    """

    a: ModelVersion
    b: ModelVersion
    manifest: Manifest
    split: str
    paths: list[str]
    notes: list[str]

    def about(self, figures: Mapping[str, tuple[float, float]]) -> Json:
        """Return plain values for JSON: the versions, the images, and figures of both."""
        return {
            "a": _about_version(self.a),
            "b": _about_version(self.b),
            "dataset": self.manifest.dataset,
            "data_digest": self.manifest.digest,
            "split": self.split,
            "images": len(self.paths),
            "figures": {name: _pair(*both) for name, both in figures.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureComparison(VersionPair):
    """Two versions of a model that names no image, and what changes from A to B; what else it has is `VersionPair`.

    Attributes:
        figures: name -> (A, B).
        parts: class or output -> figure -> (A, B).
        test: the paired bootstrap of the gate's metric, B in the challenger's place; None: nothing is known to be true.
        each_name: the figure of single images; "": there is none.
        each: of the images, A's and B's, float64 [N, 2]; NaN where an image has none.
    """

    figures: dict[str, tuple[float, float]]
    parts: dict[str, dict[str, tuple[float, float]]]
    test: Comparison | None
    each_name: str
    each: Doubles

    def changed_rows(self) -> list[dict[str, object]]:
        """Return one row per image whose figure changed, the largest changes first."""
        gaps = np.nan_to_num(self.each[:, 1] - self.each[:, 0]) if self.each_name else np.empty(0)
        order = [int(row) for row in np.argsort(-np.abs(gaps), kind="stable") if gaps[row]]
        return [{"path": self.paths[row], "figure": self.each_name, **_pair(*self.each[row].tolist())} for row in order]

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            **self.about(self.figures),
            "parts": {
                part: {name: _pair(*both) for name, both in figures.items()} for part, figures in self.parts.items()
            },
            "bootstrap": {} if self.test is None else {self.test.metric: named_test(self.test.as_dict())},
            "changed": self.changed_rows(),
            "notes": self.notes,
        }


def by_figures(run: Run, versions: list[ModelVersion], notes: list[str]) -> FigureComparison:
    """Compare two versions by their figures; raises as `compare_versions`."""
    measuring, truths = run.measuring, run.measuring.truths(run)
    found, standings = [], []
    for version in versions:
        file = version_file(run.settings, version.model, version.version)
        evidence = measuring.evidence(run.settings, open_for_batches(run.settings, file, version.sha256), truths)
        if evidence.bad:
            raise unreadable(*evidence.bad[0])
        found.append((evidence.figures(), evidence.numbers))
        standings.append(
            Standing(
                version=version.version,
                lineage=run.manifest.lineage,  # of both: they are asked about these images here
                classes=version.metadata["classes"],
                evidence=evidence.numbers,
                sha256=version.sha256,
            )
        )
    (figures_a, numbers_a), (figures_b, numbers_b) = found
    test = measuring.better(run, standings[1], standings[0])
    # Of segments about which nobody has said anything there is nothing to judge.
    each_a, each_b = (measuring.each(numbers) if len(numbers_a) else None for numbers in (numbers_a, numbers_b))
    shown = np.stack([each_a[1], each_b[1]], axis=1) if each_a and each_b else np.empty((0, 2))
    inner = [_parts(figures_a), _parts(figures_b)]
    return FigureComparison(
        a=versions[0],
        b=versions[1],
        manifest=run.manifest,
        split=run.recipe.evaluate.split,
        paths=list(run.evaluated_rows()["path"]),
        figures=_shared(figures_a, figures_b),
        parts={name: _shared(inner[0][name], inner[1][name]) for name in inner[0] if name in inner[1]},
        test=None if test is None else Comparison(**{name: test[name] for name in Comparison.__dataclass_fields__}),
        each_name=each_a[0] if each_a else "",
        each=shown,
        notes=notes,
    )


def _parts(figures: Figures) -> Json:
    """Return the figures of classes or outputs; nothing where there are none."""
    found: Any = figures.get("per_class") or figures.get("per_output") or {}
    return dict(found)


def _shared(a: Json, b: Json) -> dict[str, tuple[float, float]]:
    """Return the numbers that both have, of what depends on the answers: not the images or pixels of a class."""
    names = [name for name in a if name not in _COUNTS and _is_number(a[name]) and _is_number(b.get(name))]
    return {name: (float(a[name]), float(b[name])) for name in names}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pair(a: float, b: float) -> dict[str, float]:
    return {"a": a, "b": b, "difference": b - a}


def _about_version(version: ModelVersion) -> dict[str, object]:
    """Return which version it is, as plain values."""
    return {
        "model": version.model,
        "version": version.version,
        "model_sha256": version.sha256,
        "lineage": version.lineage,
        "data_digest": version.metadata.get("data_digest"),
    }


def named_test(values: dict[str, object]) -> dict[str, object]:
    """Name the two of a bootstrap as the command does."""
    renamed = {"challenger": "b", "champion": "a"}
    return {renamed.get(name, name): value for name, value in values.items()}
