"""Training of adaptation layers by stochastic gradient descent, in rounds of falling rates (paper 001, section 4).

A round ends when the cross-entropy of the rows has become stable, the rate is divided by 10, and the next one begins.
What stable means the paper does not say: an epoch improved it by less than a share (`stable`), or the round has had its
epochs. Momentum, decay, batch and dropout are those of Krizhevsky et al. 2012, whose code the paper ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from drillcore.digests import sha256_bytes, sha256_json
from drillcore.heads.adaptation.params import AdaptationParams
from drillcore.heads.row_source import FloatRows
from drillcore.heads.standardisation import Standardisation
from drillcore.json_types import Json
from drillcore.trained_state import read_state, write_state

_CHUNK = 4096  # rows judged at once
FALL = 10.0  # what the rate is divided by between rounds


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Rows and what they show.

    Attributes:
        rows: [N, D], in memory.
        truth: 0 and 1, uint8 [N, K].
        weights: of the rows, float32 [N].
    """

    rows: FloatRows
    truth: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was learnt: weights [in, out] and biases, layer by layer, and a record of each epoch."""

    layers: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
    curve: list[Json]


def train(
    data: Patches,
    params: AdaptationParams,
    scaling: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    *,
    softmax: bool,
    device: torch.device,
    validation: Patches | None = None,
    checkpoint: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> Trained:
    """Train; goes on from the checkpoint of the same training.

    Args:
        data: to learn from.
        params: how.
        scaling: mean and deviation of the features, float32 [D] each.
        softmax: one label a row, or background; else each label for itself.
        device: where.
        validation: rows whose cross-entropy is told, and which decide nothing.
        checkpoint: folder for the state between epochs; None: nothing is kept.
        advance: called with 1 after each epoch.
    """
    job = _Job(data, params, scaling, softmax, device)
    state = _State(job, checkpoint)
    while state.round < params.rounds:
        loss = job.epoch(state.network, state.optimizer, state.done)
        judged = {} if validation is None else {"val_loss": job.loss(state.network, validation)}
        state.take(loss, judged)
        state.keep()
        if advance:
            advance(1)
    layers = [
        (layer.weight.detach().cpu().numpy().T.copy(), layer.bias.detach().cpu().numpy().copy())
        for layer in state.network
        if isinstance(layer, nn.Linear)
    ]
    return Trained(layers=layers, curve=state.curve)


class _Job:
    """What does not change from epoch to epoch."""

    def __init__(
        self,
        data: Patches,
        params: AdaptationParams,
        scaling: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
        softmax: bool,
        device: torch.device,
    ) -> None:
        self.data, self.params, self.softmax, self.device = data, params, softmax, device
        self.standardise = Standardisation(*scaling, device)
        self.outputs = data.truth.shape[1] + softmax

    def network(self) -> nn.Sequential:
        """Return untrained layers, the same for the same seed."""
        generator = torch.Generator().manual_seed(self.params.seed)
        layers: list[nn.Module] = []
        width = self.data.rows.shape[1]
        for units in self.params.hidden:
            layers += [_linear(width, units, generator), nn.ReLU(), nn.Dropout(self.params.dropout)]
            width = units
        return nn.Sequential(*layers, _linear(width, self.outputs, generator)).to(self.device)

    def epoch(self, network: nn.Sequential, optimizer: torch.optim.Optimizer, number: int) -> float:
        """Learn from all rows once, in an order of their own; return the mean cross-entropy on the way."""
        torch.manual_seed(self.params.seed + 7919 * (number + 1))  # of the dropout
        order = np.random.default_rng([self.params.seed, number]).permutation(len(self.data.rows))
        network.train()
        total, weight = 0.0, 0.0
        for first in range(0, len(order), self.params.batch):
            part = np.sort(order[first : first + self.params.batch])
            losses, weights = self._losses(network, self.data, part)
            loss = (losses * weights).sum() / weights.sum().clamp_min(1e-12)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float((losses.detach() * weights).sum())
            weight += float(weights.sum())
        return total / max(weight, 1e-12)

    @torch.no_grad()
    def loss(self, network: nn.Sequential, data: Patches) -> float:
        """Return the mean cross-entropy of rows that are not learnt from."""
        network.eval()
        total, weight = 0.0, 0.0
        for first in range(0, len(data.rows), _CHUNK):
            part = np.arange(first, min(first + _CHUNK, len(data.rows)))
            losses, weights = self._losses(network, data, part)
            total, weight = total + float((losses * weights).sum()), weight + float(weights.sum())
        return total / max(weight, 1e-12)

    def _losses(self, network: nn.Sequential, data: Patches, part: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        rows = self.standardise(torch.from_numpy(np.ascontiguousarray(data.rows[part])).to(self.device))
        truth = torch.from_numpy(data.truth[part]).to(self.device)
        weights = torch.from_numpy(data.weights[part]).to(self.device)
        logits = network(rows.clone())
        if self.softmax:
            background = truth.shape[1]
            shown = torch.where((truth > 0).any(dim=1), truth.argmax(dim=1), background)
            return nn.functional.cross_entropy(logits, shown, reduction="none"), weights
        each = nn.functional.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
        return each.sum(dim=1), weights

    def identity(self) -> str:
        """Return the digest of all that decides the training."""
        arrays = (self.data.rows, self.data.truth, self.data.weights)
        return sha256_json(
            {
                "data": [sha256_bytes(np.ascontiguousarray(array).data.cast("B")) for array in arrays],
                "params": self.params.model_dump(mode="json", exclude={"threads", "device", "n_classes"}),
                "softmax": self.softmax,
                "device": self.device.type,
                "torch": torch.__version__,
            }
        )


class _State:
    """Where a training stands between two epochs."""

    def __init__(self, job: _Job, folder: Path | None) -> None:
        params = job.params
        self.network = job.network()
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=params.learning_rate,
            momentum=params.momentum,
            weight_decay=params.decay,
        )
        self._params, self.round, self.done, self.within = params, 0, 0, 0
        self.curve: list[Json] = []
        self._identity = job.identity() if folder else ""
        self._path = folder / f"{self._identity[:24]}.adaptation" if folder else None
        self._read(job.device)

    def take(self, loss: float, judged: dict[str, float]) -> None:
        """Take note of an epoch, and decide whether its round is over."""
        before = self.curve[-1]["loss"] if self.within else None
        self.curve.append({"epoch": self.done + 1, "round": self.round + 1, "loss": loss, **judged})
        self.done, self.within = self.done + 1, self.within + 1
        settled = isinstance(before, float) and loss > before * (1 - self._params.stable)
        if settled or self.within == self._params.epochs:
            self.round, self.within = self.round + 1, 0
            self._set_rate()

    def keep(self) -> None:
        """Write the state."""
        if self._path is None:
            return
        scalars: Json = {"identity": self._identity, "curve": list(self.curve)}
        scalars |= {"round": self.round, "done": self.done, "within": self.within}
        tensors = dict(self.network.state_dict())
        for number, parameter in enumerate(self.network.parameters()):
            tensors[f"momentum{number}"] = self.optimizer.state[parameter]["momentum_buffer"]
        write_state(self._path, scalars, tensors)

    def _read(self, device: torch.device) -> None:
        found = read_state(self._path, self._identity) if self._path else None
        if found is None:
            return
        scalars, tensors = found
        self.round, self.done, self.within = (int(scalars[name]) for name in ("round", "done", "within"))
        self.curve = scalars["curve"]
        self.network.load_state_dict({name: tensors[name] for name in self.network.state_dict()})
        for number, parameter in enumerate(self.network.parameters()):
            self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum{number}"].to(device)
        self._set_rate()

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._params.learning_rate / FALL**self.round


def _linear(width: int, units: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer with He's weights and biases of 0."""
    layer = nn.Linear(width, units)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(units, width, generator=generator) * (2.0 / width) ** 0.5)
        layer.bias.zero_()
    return layer
