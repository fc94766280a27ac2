"""The pieces of `bench patches` whose network learns too: its last block (PRE-1512U's way), or all of it from nothing.

Paper 001, table 3 and section 4.2. A patch is what the frozen part shows of it, or its pixels; the rest of the network,
FCa and FCb are trained together by stochastic gradient descent, the rate rising and falling once. Statistics of the
pretrained normalisations stay. After each epoch the state is kept, so that a killed training goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.patches.sets import SEED, Network, Photographs
from drillcore.arrays import Bytes
from drillcore.backbones.preprocessing import resize
from drillcore.backbones.training.epochs import batches
from drillcore.devices import exact_computing
from drillcore.digests import sha256_json
from drillcore.export.onnx_network import quickened
from drillcore.representations.patches.labelling import thinned
from drillcore.representations.patches.params import PatchPlan
from drillcore.representations.patches.patch_rows import patch_labels
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.settings import Settings

FROZEN = "blocks.5"  # the last map that stays in "unfrozen"
_BATCH = 128
_WIDTH = 1280


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a network learns.

    Attributes:
        pretrained: whether it begins with ImageNet's weights, all but its last block frozen.
        epochs: over the chosen patches.
        rate: highest, of the adaptation layers and of what was not pretrained.
        block_rate: highest, of the pretrained block.
        decay: of the weights.
    """

    pretrained: bool
    epochs: int
    rate: float
    block_rate: float = 0.0
    decay: float = 5e-4


WAYS = {
    "unfrozen": Way(pretrained=True, epochs=8, rate=0.01, block_rate=0.002),
    "scratch": Way(pretrained=False, epochs=12, rate=0.05, decay=1e-4),
}


class PatchLearner:
    """A network of timm whose end, or all of it, is trained on patches.

    Args:
        settings: where weights are.
        network: EfficientNet-Lite0, or another that is built as it is.
        plan: which patches, "one" label each.
        way: how it learns.
        hidden: width of FCa.
        classes: without background.
    """

    def __init__(
        self, settings: Settings, network: Network, plan: PatchPlan, way: Way, hidden: int, classes: int
    ) -> None:
        self.plan, self.way = plan, way
        weights = network.weights if way.pretrained else f"seed:{SEED}"
        self.backbone = quickened(network.built(settings, weights=weights))
        self.looks = PatchNetwork(self.backbone, [FROZEN if way.pretrained else network.tap], plan)
        self.looks.by = self.backbone.compiled([FROZEN]) if way.pretrained else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            whole = timm.create_model(network.name.partition(":")[2], num_classes=0)
            whole.load_state_dict(self.backbone.module.state_dict())
            first = [] if way.pretrained else [whole.conv_stem, whole.bn1, *whole.blocks[:-1]]
            own = nn.Sequential(*first, whole.blocks[-1], whole.conv_head, whole.bn2)
            layers = [nn.BatchNorm1d(_WIDTH, affine=False), nn.Linear(_WIDTH, hidden), nn.ReLU(), nn.Dropout(0.5)]
            self.module = nn.Sequential(
                own, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers, nn.Linear(hidden, classes + 1)
            )
        self.own = own
        if not way.pretrained:
            self.module.to(memory_format=torch.channels_last)  # two thirds of the time on a processor

    def patches(self, image: Bytes) -> NDArray[np.float16] | NDArray[np.uint8]:
        """Return an image's patches in their order: maps float16 [P, C, w, w], or pixels uint8 [P, C, side, side]."""
        looks, found = self.looks, []
        for level in looks.levels(*image.shape[:2]):
            sides = (level.height * looks.stride, level.width * looks.stride)
            planes = torch.from_numpy(resize(image, sides))
            step, side = (1, looks.window) if self.way.pretrained else (looks.stride, self.plan.side)
            if self.way.pretrained:
                planes = self.backbone.forward_taps(self._prepared(planes[None]), [FROZEN], looks.by)[FROZEN][0]
            found += [
                planes[:, top * step : top * step + side, left * step : left * step + side]
                for top in level.rows
                for left in level.columns
            ]
        stacked = torch.stack(found).numpy()
        return stacked.astype(np.float16) if self.way.pretrained else np.rint(stacked).astype(np.uint8)

    def train(self, inputs: NDArray[np.float16] | NDArray[np.uint8], shown: NDArray[np.int64], state: Path) -> float:
        """Learn from patches and their classes, int64 [N], the last for background; return the last epoch's loss.

        Args:
            inputs: of `patches`.
            shown: what they show.
            state: file in which a killed training's state is.
        """
        way, steps = self.way, len(batches(len(shown), _BATCH, least=_BATCH))
        groups = [{"params": self.module[1:].parameters(), "lr": way.rate}]
        groups.append({"params": self.own.parameters(), "lr": way.block_rate or way.rate})
        optimizer = torch.optim.SGD(groups, lr=way.rate, momentum=0.9, weight_decay=way.decay)
        plan = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [group["lr"] for group in groups], epochs=way.epochs, steps_per_epoch=steps, pct_start=0.2
        )
        identity, begun, loss = sha256_json([len(shown), repr(way), repr(self.plan)]), 0, float("nan")
        if state.is_file():
            kept = torch.load(state, weights_only=True)
            if kept["identity"] == identity:
                self.module.load_state_dict(kept["module"])
                optimizer.load_state_dict(kept["optimizer"])
                plan.load_state_dict(kept["plan"])
                begun, loss = kept["epochs"], kept["loss"]
        for epoch in range(begun, way.epochs):
            loss = self._epoch(inputs, shown, epoch, optimizer, plan)
            print(f"  epoch {epoch + 1} of {way.epochs}: cross-entropy {loss:.3f}", flush=True)
            state.parent.mkdir(parents=True, exist_ok=True)
            kept = {"identity": identity, "epochs": epoch + 1, "loss": loss, "module": self.module.state_dict()}
            torch.save(kept | {"optimizer": optimizer.state_dict(), "plan": plan.state_dict()}, state)
        return loss

    @torch.no_grad()
    def answers(self, image: Bytes) -> NDArray[np.float64]:
        """Return what the patches of an image show, float64 [P, K]: probabilities, that of background left out."""
        self.module.eval()
        patches = self.patches(image)
        parts = [self.module(self._input(patches[at : at + 256])) for at in range(0, len(patches), 256)]
        found: NDArray[np.float64] = torch.softmax(torch.cat(parts).double(), dim=1)[:, :-1].numpy()
        return found

    def _epoch(
        self,
        inputs: NDArray[np.float16] | NDArray[np.uint8],
        shown: NDArray[np.int64],
        epoch: int,
        optimizer: torch.optim.Optimizer,
        plan: torch.optim.lr_scheduler.OneCycleLR,
    ) -> float:
        self.module.train()
        if self.way.pretrained:
            self.own.eval()  # statistics of its normalisations stay
        torch.manual_seed(SEED + epoch)
        rng, total = np.random.default_rng([SEED, epoch]), 0.0
        order = rng.permutation(len(shown))
        for first, end in batches(len(shown), _BATCH, least=_BATCH):
            part = np.sort(order[first:end])
            taken = inputs[part]
            planes = self._input(taken).flip(-1) if rng.random() < 0.5 else self._input(taken)
            logits = self.module(planes)
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(shown[part]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            plan.step()
            total += float(loss.detach()) * len(part)
        return total / len(shown)

    def _input(self, patches: NDArray[np.float16] | NDArray[np.uint8]) -> Tensor:
        found = torch.from_numpy(patches).float()
        return found if self.way.pretrained else self._prepared(found).contiguous(memory_format=torch.channels_last)

    def _prepared(self, planes: Tensor) -> Tensor:
        rule = self.backbone.preprocessing
        scale, offset = (torch.tensor(rule[key])[:, None, None] for key in ("scale", "offset"))
        return planes * scale + offset


def learnt(
    learner: PatchLearner, images: Photographs, state: Path, threads: int
) -> tuple[dict[str, float | int], list[tuple[NDArray[np.float64], NDArray[np.int64]]]]:
    """Train on patches of train; return figures, and answers to all patches of val and of test, with their images."""
    with exact_computing(threads):
        inputs, shown = _chosen(learner, images)
        started = time.process_time()
        loss = learner.train(inputs, shown, state)
        facts: dict[str, float | int] = {"training_seconds": time.process_time() - started, "loss": loss}
        facts["rows"] = len(shown)
        answers = []
        for part in images.parts[1:]:
            each = [learner.answers(images.image(path)) for path in part["path"]]
            answers.append((np.concatenate(each), np.repeat(np.arange(len(each)), [len(one) for one in each])))
    return facts, answers


def _chosen(
    learner: PatchLearner, images: Photographs
) -> tuple[NDArray[np.float16] | NDArray[np.uint8], NDArray[np.int64]]:
    """Return the patches to learn from and their classes, the number of classes for background."""
    plan, part = learner.plan, images.parts[0]
    found = [patch_labels(plan, images.classes, row, learner.looks.window) for _, row in part.iterrows()]
    shown, kept = (np.concatenate([one[place] for one in found]) for place in (0, 1))
    numbers = np.flatnonzero(kept)
    numbers = numbers[thinned(~np.asarray(shown[numbers].any(axis=1)), plan.background, SEED)]
    chosen = np.zeros(len(kept), np.bool_)
    chosen[numbers] = True
    ends = np.cumsum([len(one[1]) for one in found])
    inputs = [
        learner.patches(images.image(path))[chosen[end - len(one[1]) : end]]
        for path, one, end in zip(part["path"], found, ends, strict=True)
    ]
    truth = shown[chosen]
    return np.concatenate(inputs), np.where(truth.any(axis=1), truth.argmax(axis=1), truth.shape[1]).astype(np.int64)
