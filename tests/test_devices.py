"""How many threads compute: one where more are slower; a training keeps to the number it began with."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from drillcore.backbones.training import epochs
from drillcore.backbones.training.epochs import Labelled, train
from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.devices import fastest_threads
from drillcore.heads.dbn.dbn import DbnHead
from drillcore.heads.softmax import SoftmaxHead
from drillcore.retrain.fitting.head_fitting import fit_threads
from drillcore.retrain.records import RunFolder
from drillcore.settings import Settings


@pytest.mark.parametrize(("alone", "together", "chosen"), [(0.001, 0.02, 1), (0.02, 0.001, 2), (0.01, 0.01, 1)])
def test_the_number_that_is_sooner_is_chosen(alone: float, together: float, chosen: int) -> None:
    before = torch.get_num_threads()

    def work() -> None:
        time.sleep(alone if torch.get_num_threads() == 1 else together)

    assert fastest_threads(work, 2) == chosen
    assert torch.get_num_threads() == before


def test_nothing_is_tried_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fastest_threads(pytest.fail, 1) == 1


def test_a_training_goes_on_with_the_threads_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = Labelled(torch.rand(12, 1, 8, 8, generator=generator), torch.arange(12) % 2)
    plan, file, tried = TrainingPlan(epochs=3, batch=4), tmp_path / "training", list[int]()

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 2))

    def measured(work: Any, most: int) -> int:
        work()  # a step leaves nothing behind
        tried.append(most)
        return 1

    def killed(record: Any) -> None:
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "fastest_threads", measured)
    plain, other = network(), network()
    first = train(plain, plan, images, images, seed=1, device="cpu", threads=1)
    with pytest.raises(KeyboardInterrupt):
        train(network(), plan, images, images, seed=1, device="cpu", threads=2, measure=True, checkpoint=file,
              on_epoch=killed)  # fmt: skip
    monkeypatch.setattr(epochs, "fastest_threads", pytest.fail)
    again = train(other, plan, images, images, seed=1, device="cpu", threads=2, measure=True, checkpoint=file)
    assert tried == [2]
    assert (first.threads, again.threads, again.resumed_from) == (1, 1, 2)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in plain.state_dict().items())


def test_all_fits_of_a_run_have_the_number_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(root=tmp_path, state=tmp_path / "state")
    monkeypatch.setattr(Settings, "cpu_threads", property(lambda self: self.threads or 2))
    folder = RunFolder(tmp_path / "run", "0")
    run: Any = SimpleNamespace(
        settings=settings, folder=folder, path=folder.path, recipe=SimpleNamespace(head=SimpleNamespace(params={}))
    )
    dbn = DbnHead(hidden=(4,), device="cpu")
    chosen = fit_threads(run, dbn, 8)
    assert chosen in (1, 2)
    monkeypatch.setattr(DbnHead, "fastest_threads", lambda self, features, most: 7)
    assert fit_threads(run, dbn, 8) == chosen
    assert fit_threads(run, SoftmaxHead(), 8) is None  # learns nothing
    run.settings = Settings(root=tmp_path, state=tmp_path / "state", threads=3)
    assert fit_threads(run, dbn, 8) == 3  # stated, so it is kept to
    run.recipe.head.params["threads"] = 2
    assert fit_threads(run, dbn, 8) is None
