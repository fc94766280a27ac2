"""The words and tables of `bench cross-pooling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.pooling.exported import SHIPPED
from benchmarks.pooling.features import NETWORKS
from benchmarks.report import table

Raw = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]  # score and C by network, data set and method

# By beginning of a method's name the network passes of an image.
PASSES = {
    "CL-45C + CNN-Jitter": 15,
    "CNN-Jitter": 10,
    "CL-45C": 5,
    "CL-34C": 5,
    "CL-45F": 4,
    "CL-34F": 4,
}
CLASSIFICATION = (
    "CNN-Global", "CNN-Jitter", "CL-45", "CL-45F", "CL-45C", "CL-45 + CNN-Global", "CL-45C + CNN-Global",
    "CL-45C + CNN-Jitter",
)  # fmt: skip
LAYERS = ("CL-34", "CL-34F", "CL-34C", "CL-45", "CL-45F", "CL-45C")
WAYS = ("direct max", "direct sum-sqrt", "spatial pyramid", "SCFV", "CL-45")  # of the best single resolution
FORMS = ("CL-45", "CL-45, clipped", "CL-45, no power", "CL-45, 1x1", "CL-45, a tenth", "CL-45, a fifth", "CL-45, half",
         "CL-45, twice")  # fmt: skip
TITLES = {
    "flowers17": ("flowers17, for Birds-200 (table 2)", "accuracy"),
    "scene15": ("scene15, for MIT-67 (table 1)", "accuracy"),
    "voc-animals": ("Animals of VOC 2012, for VOC 2007 (table 3)", "mean average precision"),
    "plankton": ("plankton, far from ImageNet", "accuracy"),
}
_ABOUT = (
    "For conv 4 and 5 two of a network's last stages of one resolution stand in (EfficientNet-Lite0: `blocks.5.3`, "
    "`blocks.6.0`; SqueezeNet: the map that fire9 reads, and fire9), for conv 3 and 4 two below (`blocks.4.1`, "
    "`blocks.4.2`; fire7, fire8; of SqueezeNet's the whole picture alone), for fc7 the mean of the last map. 3x3 "
    "subarrays, 500 components, signed maps, power, and one length of every part (ours), unless a row says otherwise. "
    "C of 0.1 to 100 is chosen on rows held out of train (the log loss of four folds); test is asked once. Plankton is "
    "5,000 of 26,536 pictures, of each of 121 classes the same share, drawn with a seed: grey and small (half have 49 "
    "to 94 pixels on the longer side), they are enlarged to 128 x 128, where Lite0's last maps have 4 x 4 cells, "
    "SqueezeNet's 7 x 7; 100 components, C of 0.1, 1 and 10 by the errors on a fifth of train held out (val). That "
    "rule took the place of one by log loss after a first test figure had been seen (58.4 for Lite0's CL-45), so "
    "plankton's rows are a little flattered."
)


def written(raw: Raw) -> str:
    """Return the report's text of what the JSON holds under `raw`."""
    found: Found = raw["accuracy"]
    about = "; ".join(f"{name}: {count['train']} train, {count['test']} test" for name, count in raw["counts"].items())
    parts = [f"Pictures: {about}. {_ABOUT}", _when(raw["measured"])]
    for name, (title, measure) in TITLES.items():
        columns = [key for key in found if name in found[key]]
        if columns:
            parts.append(f"## {title}\n\n{_table(found, name, columns, CLASSIFICATION, measure)}")
    everything = [(key, name) for key in found for name in TITLES if name in found[key]]
    parts += [
        f"## Other layers (table 6)\n\n{_wide(found, everything, LAYERS)}",
        "## Ways to pool (table 7)\n\nOf each set's best single resolution, CL-45 or CL-45F, by the loss on rows held "
        f"out of train.\n\n{_best(raw, everything, WAYS)}",
        f"## Signs (table 8)\n\nOf the same resolution.\n\n{_best(raw, everything, ('CL-45', 'CL-45, signs'))}",
        f"## Forms and sizes\n\n{_wide(found, everything, FORMS)}",
        f"## What a picture costs (table 5)\n\n{_costs(raw['seconds'])}",
        f"## Pooling in a model's file\n\n{_forms(raw['file_seconds'])}",
        f"## Claims\n\n{_claims(raw['claims'])}",
        f"## Targets\n\n{_targets(raw)}",
        f"## Maps as part detectors (figure 4)\n\n{_maps(raw['sparsity'], raw['pictures'])}",
        "## Not here\n\nMIT-67, Birds-200, VOC 2007 and H3D themselves (table 4); regions (R-CNN SCFV) and fine-tuned "
        "networks; AlexNet, whose weights are not at hand. fc7 is no mean; the stand-in is what the network was "
        "trained to be averaged to, which leaves pooled maps less to gain.",
    ]
    return "\n\n".join(parts)


def _when(measured: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            name,
            one["date"],
            f"{one['machine']['cores']} cores of {one['machine']['processor']}",
            one["machine"]["revision"],
        ]
        for name, one in measured.items()
    ]
    head = ("piece", "measured by", "on", "revision")
    return f"Pooling in a model's file is of the run above. All else:\n\n{table(head, rows)}"


def passes(method: str) -> int:
    """Return the network passes of an image."""
    return next((count for name, count in PASSES.items() if method.startswith(name)), 1)


def _table(found: Found, name: str, columns: Sequence[str], methods: Sequence[str], measure: str) -> str:
    rows = [
        [method, f"x {passes(method)}", *(_score(found[key][name].get(method)) for key in columns)]
        for method in methods
        if any(method in found[key][name] for key in columns)
    ]
    return table((measure, "network passes", *(NETWORKS[key].title for key in columns)), rows)


def _wide(found: Found, columns: Sequence[tuple[str, str]], methods: Sequence[str]) -> str:
    rows = [
        [method, *(_score(found[key][name].get(method)) for key, name in columns)]
        for method in methods
        if any(method in found[key][name] for key, name in columns)
    ]
    return table(("method", *(f"{name}, {key}" for key, name in columns)), rows)


def _named(method: str, finer: bool) -> str:
    """Return the method's name at the better resolution."""
    if not finer or method == "SCFV":
        return method
    return method.replace("CL-45", "CL-45F") if method.startswith("CL-45") else f"{method}F"


def _best(raw: Raw, columns: Sequence[tuple[str, str]], methods: Sequence[str]) -> str:
    finer = [raw["finer"][f"{name}, {key}"] for key, name in columns]
    heads = [f"{name}, {key}: {'CL-45F' if own else 'CL-45'}" for (key, name), own in zip(columns, finer, strict=True)]
    rows = []
    for method in methods:
        cells = [
            _score(raw["accuracy"][key][name].get(_named(method, own)))
            for (key, name), own in zip(columns, finer, strict=True)
        ]
        label = "cross-layer" if method == "CL-45" else "SCFV, of the whole picture" if method == "SCFV" else method
        rows.append([label.replace("CL-45, ", ""), *cells])
    return table(("method", *heads), rows)


def _costs(seconds: Mapping[str, Any]) -> str:
    one, pooling, blocks = (1000 * seconds[name] for name in ("backbone", "pooling", "pooling_blocks"))
    rows = [
        ["CNN-Global", one, 0.0],
        ["CNN-Jitter", 10 * one, 0.0],
        ["CL-45", one, pooling],
        ["CL-45F", 4 * one, blocks],
        ["CL-45C", 5 * one, pooling + blocks],
        ["SCFV, of the whole picture", one, 1000 * seconds["fisher"]],
    ]
    told = [[name, f"{network:.0f}", f"{own:.1f}", f"{network + own:.0f}"] for name, network, own in rows]
    return (
        table(("method", "network, ms", "pooling, ms", "total, ms"), told)
        + "\n\nOf the processor, one thread, EfficientNet-Lite0: a forward pass and pooling are measured in turn, "
        "several passes are so many times one (paper: 450 ms and 140 ms of CL-45)."
    )


def _forms(times: Mapping[str, Any]) -> str:
    """Of the file's nodes: what pooling takes above the backbone."""
    rows = [["CL-45", name, 1000 * times["backbone"], 1000 * own] for name, own in times["forms"].items()]
    rows.append(["CL-45C, five looks", SHIPPED, 1000 * times["blocks_backbone"], 1000 * times["blocks_pooling"]])
    told = [[name, form, f"{whole:.1f}", f"{own:.2f}", f"{own / whole:.1%}"] for name, form, whole, own in rows]
    return (
        table(("rows", "form of the nodes", "backbone, ms", "pooling, ms", "share"), told)
        + "\n\nOf the processor, onnxruntime, one thread, one picture: a file with pooling and the backbone alone take "
        "turns, pooling is the median of the differences. All forms give the same rows."
    )


def _targets(raw: Raw) -> str:
    gains, seconds, products = raw["gains"], raw["seconds"], raw["kernel_seconds"]
    rows = []
    for key, (gain, low, high) in gains.items():
        title = f"CL-45C at least 3 points above CNN-Global, mean of flowers17 and scene15, {NETWORKS[key].title}"
        rows.append([title, f"{gain:+.1f} ({low:+.1f} to {high:+.1f})", _held(gain >= 3)])
        rows.append(["its 95 % interval above 0", f"{low:+.1f}", _held(low > 0)])
    share, rate = seconds["pooling"] / seconds["backbone"], products["matmul"] / products["gram"]
    onnx = seconds["pooling"] / seconds["backbone_onnx"]
    rows.append(["pooling at most 20 % of a forward pass, torch", f"{share:.1%}", _held(share <= 0.2)])
    rows.append(
        ["the same beside onnxruntime's forward pass, as the store is filled", f"{onnx:.1%}", _held(onnx <= 0.2)]
    )
    file = raw["file_seconds"]["pooling"] / raw["file_seconds"]["backbone"]
    rows.append(["the same in a model's file", f"{file:.1%}", _held(file <= 0.2)])
    rows.append(["kernels at 70 % of the bare product's rate", f"{rate:.0%}", _held(rate >= 0.7)])
    return (
        table(("target", "found", "held"), rows)
        + f"\n\nA kernel of CL-45 rows kept as float16 takes {products['gram']:.1f} s, the bare product of the same in "
        f"float32 {products['matmul']:.1f} s; both compute half, since the other half is the same."
    )


def _claims(claims: Sequence[Raw]) -> str:
    rows = [
        [
            one["claim"],
            one["network"],
            f"{one['points']:+.1f}",
            f"{one['low']:+.1f} to {one['high']:+.1f}",
            ", ".join(f"{name} {points:+.1f}" for name, points in one["by"].items()),
        ]
        for one in claims
    ]
    return table(("claim", "network", "points, mean over the sets", "95 % interval", "by set"), rows)


def _maps(sparse: Mapping[str, Mapping[str, float]], pictures: Sequence[str]) -> str:
    rows = [
        [name, f"{one['zero']:.0%}", f"{one['negative']:.0%}", f"{one['best_tenth']:.0%}"]
        for name, one in sparse.items()
    ]
    shown = "\n\n".join(f"![maps over pictures](cross-pooling/{name})" for name in pictures)
    head = (
        "maps of conv t + 1",
        "numbers that are 0",
        "below 0",
        "of what is positive in the strongest tenth of cells",
    )
    return (
        f"{table(head, rows)}\n\n{shown}\n\nBy network, flowers17 above scene15: two test pictures, each under seven "
        "maps drawn at random; then two maps drawn at random over the eight test pictures that excite them most."
    )


def _score(one: Sequence[float] | None) -> str:
    return "" if one is None else f"{100 * one[0]:.1f}"


def _held(held: bool) -> str:
    return "yes" if held else "no"
