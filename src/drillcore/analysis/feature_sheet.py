"""The picture of an explanation, and the words in it."""

from __future__ import annotations

from pathlib import Path

from drillcore.analysis.explanation import ExplainedFeature, Explanation
from drillcore.evaluation.pictures.feature_pictures import FeatureRow, draw_explanation
from drillcore.settings import Settings


def default_picture(settings: Settings, found: Explanation) -> Path:
    """Return the file that is written to where none is named: one for each version, image and class."""
    version, number = found.parts.version, found.parts.manifest.classes.index(found.explained)
    name = f"{version.model}-{version.version}-{found.sha256[:12]}-{number}.png"
    return settings.state / "explanations" / name


def write_picture(found: Explanation, path: Path) -> None:
    """Draw an explanation, whole or not at all. Raises InputError for a suffix other than .png and .svg, OSError."""
    title = f"{found.parts.name}: {found.label} {found.probabilities[0][1]:.1%}"
    if found.explained != found.label:
        title += f"; features of {found.explained}"
    first = found.features[0].response.seen if found.features else found.pixels
    draw_explanation(
        path,
        title=title,
        image=found.pixels,
        seen=first,
        probabilities=found.probabilities,
        rows=[_row(found, one) for one in found.features],
        darker=all(scale < 0 for scale in found.parts.backbone.preprocessing["scale"]),
    )


def _row(found: Explanation, one: ExplainedFeature) -> FeatureRow:
    lines = [
        f"feature {one.number}: {one.tap}, {one.unit}",
        f"activation {one.activation:.3g}, {one.standing:.1f} deviations above the other classes",
    ]
    if one.class_mean is not None:
        lines.append(f"mean in {found.explained}: {one.class_mean:.3g}")
    if one.weight != 1:
        lines.append(f"weight {one.weight:.2f}, strength {one.strength:.1f}")
    if one.top:
        lines.append(f"most: {one.told_classes}")
    return FeatureRow(
        lines=lines,
        seen=one.response.seen,
        projection=one.response.projection,
        patches=[(top.seen, top.projection) for top in one.top],
    )
