"""The classes of a report, the weakest first: of images, or of pixels."""

from __future__ import annotations

from drillcore.analysis.reporting import Report
from drillcore.json_types import Json
from drillcore.pages.figure_names import change
from drillcore.pages.html import Html, details, element, join, section, table

# key in `per_class`: heading
_OF_IMAGES = {"precision": "precision", "recall": "recall", "f1": "F1"}
_OF_LABELS = {"average_precision_11": "by 11 points", "average_precision": "average precision"}
_OF_PIXELS = {"precision": "precision", "accuracy": "accuracy", "iou": "IoU"}
_SHORTENED, _SHOWN = 25, 15


def classes_section(report: Report) -> Html | None:
    """Return one row per class with its figures and, where there is a rival, the change of the last of them."""
    own = report.figures.get("per_class") or {}
    other = (report.rival or {}).get("per_class") or {}
    seen: Json = {name: row for name, row in own.items() if row["support"]}
    if not seen:
        return None
    first = next(iter(seen.values()))
    columns = _OF_PIXELS if "iou" in first else _OF_LABELS if "average_precision" in first else _OF_IMAGES
    last = list(columns)[-1]
    rows = []
    for name, row in sorted(seen.items(), key=lambda item: (item[1][last], item[0])):
        cells = [name, f"{row['support']:,}", *(f"{row[key]:.3f}" for key in columns)]
        if other:
            then = other.get(name)
            if then is None or last not in then:
                cells += ["–", "new class"]
            else:
                cells += [f"{then[last]:.3f}", change("share", row[last], then[last])]
        rows.append(cells)
    counted = "pixels" if columns is _OF_PIXELS else "images"
    compared = [f"{columns[last]} compared with", "difference"] if other else []
    headings = ["class", counted, *columns.values(), *compared]
    unseen = len(own) - len(seen)
    text = "The weakest first." + (f" {unseen} classes without an evaluation image are left out." if unseen else "")
    whole = table(headings, rows)
    if len(rows) > _SHORTENED:
        folded = details(f"all {len(rows)} classes", table(headings, rows))
        whole = join([table(headings, rows[:_SHOWN]), folded])
    return section("classes", "Classes", element("p", text), whole)
