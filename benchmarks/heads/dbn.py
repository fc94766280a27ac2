"""`drillcore bench dbn`: an RBM beside scikit-learn's, fine-tuning beside a bare torch MLP, what pretraining buys.

Digits come with scikit-learn, so that the benchmark needs no data set. `ablation` takes any rows with labels and
groups; on core samples of a real data set a retrain calls it.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import facts, table, write_report
from drillcore.settings import Settings

SEED = 0
EPOCHS, UNITS = 10, 256  # of the RBMs
# scikit-learn's RBM at several rates: ours is held against the best of them.
THEIR_RATES = (0.03, 0.06, 0.1, 0.2)
OURS = {"batch": 80, "rate": 0.4, "momentum": 0.5, "deviation": 0.35}
WIDTHS = (1507, 512, 256, 12)  # a core of five SqueezeNet taps and the image; CamVid's labels
BATCH = 512
SHARES = (0.01, 0.1, 1.0)
Rows = npt.NDArray[np.float16] | npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def run(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    machines = boltzmann_machines(rounds=1 if quick else 9)
    tuning = fine_tuning(settings, rows=2048 if quick else 16_384, rounds=1 if quick else 7)
    X, y = _digits()
    groups = np.arange(len(X)) * 5 // len(X)  # the file is in order of its writers' forms: neighbours stay together
    bought = ablation(
        X, y, groups, threads=settings.cpu_threads, seeds=(0,) if quick else (0, 1, 2), epochs=6 if quick else 40
    )
    grey = machines["grey"]
    figures = {
        "rbm_time_vs_sklearn": grey["time_vs_sklearn"],
        "rbm_pseudo_likelihood_gain": grey["gain"],
        "rbm_time_vs_sklearn_binary": machines["binary"]["time_vs_sklearn"],
        "rbm_pseudo_likelihood_gain_binary": machines["binary"]["gain"],
        "finetune_vs_bare_mlp": tuning["float32"]["vs_bare"],
        "finetune_bfloat16_vs_bare_mlp": tuning["bfloat16"]["vs_bare"],
    }
    raw = {"machines": machines, "fine_tuning": tuning, "ablation": bought}
    seeds = {"rbm": SEED, "rows": SEED}
    if quick:
        return {**figures, **facts(seeds), "raw": raw}
    return write_report("dbn", figures, raw, _text(machines, tuning, bought), seeds=seeds)


def boltzmann_machines(rounds: int) -> dict[str, dict[str, Any]]:
    """Time our RBM and scikit-learn's in turn on the digits, one thread each, and score both with one function."""
    import torch
    from threadpoolctl import threadpool_limits

    pixels = _digits()[0].astype(np.float32)
    result = {}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with threadpool_limits(1):
            for name, values in (("grey", pixels), ("binary", (pixels > 0.5).astype(np.float32))):
                result[name] = _machine_pair(values[:1400], values[1400:], rounds)
    finally:
        torch.set_num_threads(before)
    return result


def _machine_pair(train: Rows, test: Rows, rounds: int) -> dict[str, Any]:
    import torch
    from sklearn.neural_network import BernoulliRBM

    def theirs(rate: float) -> Any:
        return BernoulliRBM(UNITS, learning_rate=rate, n_iter=EPOCHS, random_state=SEED).fit(train)

    scored = torch.from_numpy(test)
    swept = {rate: float(_of_sklearn(theirs(rate)).pseudo_log_likelihood(scored).mean()) for rate in THEIR_RATES}
    rate = max(swept, key=swept.__getitem__)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    ours = _learn(train)
    for _ in range(rounds):
        seconds["ours"].append(_timed(lambda: _learn(train)))
        seconds["theirs"].append(_timed(lambda: theirs(rate)))
    pairs = zip(seconds["ours"], seconds["theirs"], strict=True)
    level = float(ours.pseudo_log_likelihood(scored).mean())
    return {
        "seconds": seconds,
        "time_vs_sklearn": statistics.median(mine / other for mine, other in pairs),
        "pseudo_log_likelihood": level,
        "pseudo_log_likelihood_sklearn": {str(key): value for key, value in swept.items()},
        "sklearn_rate": rate,
        "gain": level - swept[rate],
    }


def _learn(train: Rows) -> Any:
    import torch

    from drillcore.heads.dbn.contrastive_divergence import ContrastiveDivergence, learn_rows
    from drillcore.heads.dbn.rbm import Rbm

    rows, drawn = torch.from_numpy(train), torch.Generator().manual_seed(SEED)
    rbm = Rbm.start(rows.mean(dim=0), UNITS, visible="bernoulli", generator=drawn, deviation=OURS["deviation"])
    learning = ContrastiveDivergence.start(rbm, int(OURS["batch"]), momentum=OURS["momentum"], decay=0, generator=drawn)
    learn_rows(learning, rows, epochs=EPOCHS, rate=OURS["rate"], generator=drawn)
    return rbm


def _of_sklearn(fitted: Any) -> Any:
    import torch

    from drillcore.heads.dbn.rbm import Rbm

    weight, visible, hidden = (
        torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))
        for part in (fitted.components_.T, fitted.intercept_visible_, fitted.intercept_hidden_)
    )
    return Rbm(weight=weight, visible_bias=visible, hidden_bias=hidden, visible="bernoulli")


def fine_tuning(settings: Settings, rows: int, rounds: int) -> dict[str, Any]:
    """Time an epoch of `DbnHead` on float16 rows and one of a bare MLP on standardised float32 rows, in turn.

    Both have the same shape, batch, number of threads and Adam. The bare one has nothing to do but the steps; ours
    reads the source in blocks, standardises, and keeps a curve. Its pass before the first epoch (moments) is
    measured apart: an epoch is half the difference of a training of three epochs and of one.
    """
    import torch

    rng = np.random.default_rng(SEED)
    X = rng.normal(1, 2, (rows, WIDTHS[0])).astype(np.float16)
    y = rng.integers(0, WIDTHS[-1], rows)
    prepared = torch.from_numpy((X.astype(np.float32) - 1) / 2)
    labels = torch.from_numpy(y)
    threads = settings.cpu_threads
    before = torch.get_num_threads()
    seconds: dict[str, list[float]] = {"bare": [], "float32": [], "bfloat16": [], "moments": []}
    try:
        torch.set_num_threads(threads or before)
        for number in range(rounds + 1):  # the first warms up
            timed = {"bare": _bare_epoch(prepared, labels)}
            for precision in ("float32", "bfloat16"):
                one, three = (_timed(functools.partial(_fit, X, y, epochs, precision, threads)) for epochs in (1, 3))
                timed[precision] = (three - one) / 2
                timed["moments"] = max(one - timed[precision], 0.0)
            for name, value in timed.items():
                if number:
                    seconds[name].append(value)
    finally:
        torch.set_num_threads(before)
    result: dict[str, Any] = {"rows": rows, "widths": list(WIDTHS), "batch": BATCH, "seconds": seconds}
    for precision in ("float32", "bfloat16"):
        pairs = zip(seconds["bare"], seconds[precision], strict=True)
        result[precision] = {
            "vs_bare": statistics.median(bare / ours for bare, ours in pairs),
            "rows_per_second": rows / statistics.median(seconds[precision]),
        }
    result["bare_rows_per_second"] = rows / statistics.median(seconds["bare"])
    return result


def _fit(X: Rows, y: Labels, epochs: int, precision: str, threads: int) -> None:
    from drillcore.heads.dbn.dbn import DbnHead

    head = DbnHead(hidden=WIDTHS[1:-1], epochs=epochs, batch=BATCH, precision=precision, device="cpu", threads=threads)
    head.fit(X, y)


def _bare_epoch(rows: Any, labels: Any) -> float:
    """Return the seconds of the better of two epochs of the plainest training loop there is."""
    import torch
    from torch import nn

    sizes = itertools.pairwise(WIDTHS)
    layers = [part for inputs, outputs in sizes for part in (nn.Linear(inputs, outputs), nn.ReLU())][:-1]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def epoch() -> None:
        order = torch.randperm(len(rows))
        for first in range(0, len(rows), BATCH):
            chosen = order[first : first + BATCH]
            loss = nn.functional.cross_entropy(network(rows[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return min(_timed(epoch), _timed(epoch))


def ablation(
    X: Rows,
    y: Labels,
    groups: npt.NDArray[np.int64],
    *,
    threads: int = 0,
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 20,
    hidden: tuple[int, ...] = (256, 128),
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    shares: tuple[float, ...] = SHARES,
) -> list[dict[str, Any]]:
    """Say what pretraining buys where few rows have labels: accuracy, and epochs to reach a loss.

    The last group is what is judged. Standardisation and RBMs see all other rows, as they need no labels; fine-tuning
    sees a share of them.

    Args:
        X: rows [N, D].
        y: class indices [N].
        groups: int [N]; whole groups are judged, so that neighbours are not on both sides.
        threads: of the CPU.
        seeds: of the weights and of which rows have labels; one training each.
        epochs: of fine-tuning.
        hidden: widths.
        variants: parameters of `DbnHead` by name; None: both activations, with and without pretraining.
        shares: of the rows that have labels.

    Returns:
        a record for each share and variant: `share, labels, variant, accuracy, spread, class_average, final_loss,
        epochs_to_loss`; that loss is the lowest of the variant without pretraining of the same activation, on the
        judged rows, times 1.05.
    """
    judged = groups == groups.max()
    rows, labels, test = X[~judged], y[~judged], (X[judged], y[judged])
    result: list[dict[str, Any]] = []
    for share in shares:
        found = {
            name: [_trained(rows, labels, test, share, params, hidden, epochs, seed, threads) for seed in seeds]
            for name, params in (variants or _variants()).items()
        }
        for name, runs in found.items():
            plain = found.get(name.replace(" pretrained", ""), runs)
            limits = [1.05 * min(run["losses"]) for run in plain]
            accuracies = [run["accuracy"] for run in runs]
            result.append(
                {
                    "share": share,
                    "labels": runs[0]["labels"],
                    "variant": name,
                    "accuracy": statistics.mean(accuracies),
                    "spread": max(accuracies) - min(accuracies),
                    "class_average": statistics.mean(run["class_average"] for run in runs),
                    "final_loss": statistics.mean(run["losses"][-1] for run in runs),
                    "epochs_to_loss": [
                        next((number + 1 for number, loss in enumerate(run["losses"]) if loss <= limit), None)
                        for run, limit in zip(runs, limits, strict=True)
                    ],
                }
            )
    return result


def _variants() -> dict[str, dict[str, Any]]:
    return {
        "relu": {"activation": "relu"},
        "relu pretrained": {"activation": "relu", "pretrain_epochs": 20, "pretrain_batch": 32},
        "sigmoid": {"activation": "sigmoid", "learning_rate": 0.003},
        "sigmoid pretrained": {
            "activation": "sigmoid",
            "learning_rate": 0.003,
            "pretrain_epochs": 20,
            "pretrain_batch": 32,
        },
    }


def _trained(
    rows: Rows,
    labels: Labels,
    test: tuple[Rows, Labels],
    share: float,
    params: Mapping[str, Any],
    hidden: tuple[int, ...],
    epochs: int,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    from drillcore.heads.dbn.dbn import DbnHead

    count = int(labels.max()) + 1
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[: max(count, round(share * len(rows)))])
    head = DbnHead(
        **{"batch": 32, **params, "hidden": hidden, "epochs": epochs},
        n_classes=int(max(labels.max(), test[1].max())) + 1,
        seed=seed,
        device="cpu",
        threads=threads,
    )
    head.fit(rows[drawn], labels[drawn], validation=test, unlabelled=rows)
    answers = head.predict(test[0])
    recalls = [(answers[test[1] == label] == label).mean() for label in np.unique(test[1])]
    return {
        "labels": len(drawn),
        "accuracy": float((answers == test[1]).mean()),
        "class_average": float(np.mean(recalls)),
        "losses": [record["val_loss"] for record in head.curve_],
    }


def _digits() -> tuple[Rows, Labels]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float16), y.astype(np.int64)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _text(machines: dict[str, Any], tuning: dict[str, Any], bought: list[dict[str, Any]]) -> str:
    pairs = [
        (
            name,
            statistics.median(found["seconds"]["ours"]),
            statistics.median(found["seconds"]["theirs"]),
            found["time_vs_sklearn"],
            found["pseudo_log_likelihood"],
            found["pseudo_log_likelihood_sklearn"][str(found["sklearn_rate"])],
            found["sklearn_rate"],
        )
        for name, found in machines.items()
    ]
    head = ("digits", "ours, s", "scikit-learn, s", "ours / theirs", "ours, nats", "theirs, nats", "their best rate")
    speeds = [(name, tuning[name]["rows_per_second"], tuning[name]["vs_bare"]) for name in ("float32", "bfloat16")]
    return f"""## RBMs

{table(head, pairs)}

{UNITS} hidden units, {EPOCHS} epochs, one thread each. Pseudo-log-likelihood of 397 rows not learnt from, exact over
all pixels, both by the same function; scikit-learn's with its own batches of 10 and the best of the rates
{", ".join(str(rate) for rate in THEIR_RATES)}; ours with batches of {OURS["batch"]}, momentum {OURS["momentum"]}, rate
{OURS["rate"]} falling to 0. Binary: pixels above one half, which is what a Bernoulli RBM is a model of.

## Fine-tuning

{table(("DbnHead", "rows/s", "of the bare MLP"), speeds)}

{"-".join(str(width) for width in WIDTHS)}, batches of {tuning["batch"]}, {tuning["rows"]:,} rows. Bare: torch's own
layers and Adam on rows in memory that are float32 and standardised already, {tuning["bare_rows_per_second"]:,.0f}
rows/s. Ours reads float16 rows in blocks and standardises them in each epoch. Ratios are medians of neighbouring runs.

## What pretraining buys

{ablation_table(bought)}

Digits; the last fifth is judged. Standardisation and RBMs see all other rows without their labels, fine-tuning the
share. Epochs to the loss: until the judged rows' loss is within 5 % of the lowest that the same network reaches without
pretraining, by seed; none: never.
"""


def ablation_table(records: list[dict[str, Any]]) -> str:
    """Return the records of `ablation` as a Markdown table."""
    head = ("labels", "share", "network", "accuracy", "spread", "class average", "last loss", "epochs to the loss")
    names = ("labels", "share", "variant", "accuracy", "spread", "class_average", "final_loss", "epochs_to_loss")
    rows = [[record[name] for name in names] for record in records]
    return table(head, [[*row[:-1], ", ".join("none" if n is None else str(n) for n in row[-1])] for row in rows])
