from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM

from drillcore.errors import InputError
from drillcore.heads.dbn.contrastive_divergence import ContrastiveDivergence, equal_batches, learn_rows
from drillcore.heads.dbn.rbm import Rbm, bernoulli_, noisy_relu_


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(visible: str, width: int = 5, units: int = 3, deviation: float = 0.7) -> Rbm:
    drawn = generator(1)
    return Rbm(
        weight=torch.randn(width, units, generator=drawn, dtype=torch.float64) * deviation,
        visible_bias=torch.randn(width, generator=drawn, dtype=torch.float64),
        hidden_bias=torch.randn(units, generator=drawn, dtype=torch.float64),
        visible=visible,
    )


def states(units: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)), dtype=torch.float64)


@pytest.mark.parametrize("units", [3, 7])  # summed over the hidden units, and over the fewer visible ones
def test_partition_function_is_the_sum_over_all_states(units: int) -> None:
    rbm = tiny("bernoulli", units=units)
    total = sum(math.exp(-float(rbm.energy(v, h))) for v in states(5)[:, None] for h in states(units)[:, None])
    assert float(rbm.log_partition()) == pytest.approx(math.log(total), abs=1e-10)
    assert float(rbm.log_likelihood(states(5)).exp().sum()) == pytest.approx(1, abs=1e-10)


def test_gaussian_density_integrates_to_one() -> None:
    rbm = tiny("gaussian", width=2, units=3)
    line = torch.arange(-9, 9, 0.1, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    assert float(rbm.log_likelihood(plane).exp().sum()) * 0.1**2 == pytest.approx(1, abs=1e-6)
    # The free energy is the sum over the hidden states.
    v = plane[::917]
    summed = torch.logsumexp(torch.stack([-rbm.energy(v, h.expand(len(v), -1)) for h in states(3)]), dim=0)
    torch.testing.assert_close(-rbm.free_energy(v), summed)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_persistent_chains_reach_the_exact_distribution(visible: str) -> None:
    """At a rate of 0 the chains walk in a fixed model; what they visit gives its exact mean."""
    rbm = tiny(visible, width=4)
    for name in ("weight", "visible_bias", "hidden_bias"):
        setattr(rbm, name, getattr(rbm, name).float())
    learning = ContrastiveDivergence.start(rbm, 2000, decay=0, generator=generator())
    rows, drawn = torch.zeros(1, 4), generator(5)
    seen = torch.zeros(3)
    for step in range(150):
        learning.step(rows, 0.0, drawn)
        if step >= 50:
            seen += learning.chains.mean(dim=0) / 100
    h = states(3).float()
    if visible == "bernoulli":
        logs = h @ rbm.hidden_bias + torch.nn.functional.softplus(rbm.visible_bias + h @ rbm.weight.T).sum(dim=1)
    else:
        logs = h @ rbm.hidden_bias + (rbm.visible_bias + h @ rbm.weight.T).square().sum(dim=1) / 2
    torch.testing.assert_close(seen, torch.softmax(logs, dim=0) @ h, atol=0.01, rtol=0)


@pytest.mark.parametrize("centred", [False, True])
def test_learns_bars_and_stripes(centred: bool) -> None:
    """3x3 bars and stripes: 14 patterns; a likelihood near the best, -log 14, computed exactly."""
    bits = states(3).float()
    stripes = bits[:, :, None].expand(-1, 3, 3).reshape(-1, 9)
    bars = bits[:, None, :].expand(-1, 3, 3).reshape(-1, 9)
    patterns = torch.unique(torch.cat([stripes, bars]), dim=0)
    assert len(patterns) == 14
    drawn = generator()
    rbm = Rbm.start(patterns.mean(dim=0), 16, visible="bernoulli", generator=drawn, deviation=0.1)
    before = float(rbm.log_likelihood(patterns).mean())
    mean = patterns.mean(dim=0) if centred else None
    learning = ContrastiveDivergence.start(rbm, 140, momentum=0, decay=0, mean=mean, generator=drawn)
    learn_rows(learning, patterns.repeat(10, 1), epochs=6000, rate=0.1, generator=drawn)
    after = float(rbm.log_likelihood(patterns).mean())
    assert before < -6
    assert after > -math.log(14) - 0.3
    assert float(rbm.log_likelihood(patterns).exp().sum()) > 0.7, "fantasies are bars and stripes"


@pytest.mark.parametrize("centred", [False, True])
def test_gaussian_learns_the_likelihood_of_clusters(centred: bool) -> None:
    drawn = generator()
    centres = torch.tensor([[2.0, 2.0, -2.0], [-2.0, 0.5, 2.0]])
    rows = centres[torch.randint(0, 2, (1000,), generator=drawn)] + torch.randn(1000, 3, generator=drawn)
    rbm = Rbm.start(rows.mean(dim=0), 4, visible="gaussian", generator=drawn)
    before = float(rbm.log_likelihood(rows).mean())
    mean = rows.mean(dim=0) if centred else None
    learning = ContrastiveDivergence.start(rbm, 50, momentum=0.5, decay=0, mean=mean, generator=drawn)
    learn_rows(learning, rows, epochs=60, rate=0.02, generator=drawn)
    best = torch.distributions.Normal(0, 1)
    true = torch.logsumexp(
        torch.stack([best.log_prob(rows - centre).sum(dim=1) for centre in centres]), dim=0
    ).mean() - math.log(2)
    assert float(true) - 0.15 < float(rbm.log_likelihood(rows).mean())
    assert before < float(true) - 1


def sklearn_rbm(fitted: BernoulliRBM) -> Rbm:
    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    return Rbm(
        weight=tensor(fitted.components_.T),
        visible_bias=tensor(fitted.intercept_visible_),
        hidden_bias=tensor(fitted.intercept_hidden_),
        visible="bernoulli",
    )


@pytest.mark.parametrize("grey", [True, False])
def test_pseudo_likelihood_on_digits_is_as_good_as_scikit_learns(grey: bool) -> None:
    pixels = (load_digits().data / 16).astype(np.float32)
    pixels = pixels if grey else (pixels > 0.5).astype(np.float32)
    train, test = torch.from_numpy(pixels[:1400]), torch.from_numpy(pixels[1400:])
    drawn = generator()
    ours = Rbm.start(train.mean(dim=0), 128, visible="bernoulli", generator=drawn, deviation=0.05)
    learning = ContrastiveDivergence.start(ours, 40, momentum=0.7, decay=0, generator=drawn)
    learn_rows(learning, train, epochs=10, rate=0.2, generator=drawn)
    theirs = BernoulliRBM(128, n_iter=10, random_state=0).fit(pixels[:1400])  # its defaults: rate 0.1, batches of 10
    assert ours.pseudo_log_likelihood(test).mean() >= sklearn_rbm(theirs).pseudo_log_likelihood(test).mean()


def test_pseudo_likelihood_is_what_scikit_learn_estimates() -> None:
    pixels = (load_digits().data > 8).astype(np.float64)
    theirs = BernoulliRBM(8, n_iter=2, random_state=0).fit(pixels)
    drawn = np.mean([theirs.score_samples(pixels).mean() for _ in range(40)])
    exact = float(sklearn_rbm(theirs).pseudo_log_likelihood(torch.from_numpy(pixels).float()).mean())
    assert exact == pytest.approx(drawn, rel=0.02)


def test_pseudo_likelihood_is_the_product_of_conditionals() -> None:
    rbm = tiny("bernoulli", width=4)
    v = states(4)
    logs = rbm.log_likelihood(v)
    wanted = torch.zeros(16, dtype=torch.float64)
    for unit in range(4):
        other = v.clone()
        other[:, unit] = 1 - other[:, unit]
        flipped = torch.stack([logs[(v == row).all(dim=1)][0] for row in other])
        wanted += logs - torch.logaddexp(logs, flipped)
    torch.testing.assert_close(rbm.pseudo_log_likelihood(v), wanted)


def test_draws_follow_their_probabilities() -> None:
    drawn = generator()
    given = torch.tensor([0.0, 1.0, 0.25, 0.9, 1e-3])
    found = bernoulli_(given.expand(200_000, 5).clone(), drawn)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    shares = found.mean(dim=0)
    assert shares[0] == 0
    assert shares[1] == 1
    torch.testing.assert_close(shares, given, atol=4e-3, rtol=0)
    assert abs(np.corrcoef(found[:, 2], found[:, 3])[0, 1]) < 0.01, "draws of one random number are independent"


def test_relu_units_count_as_a_sum_of_bernoulli_copies() -> None:
    x = torch.tensor([-2.0, 0.0, 1.5, 6.0])
    copies = torch.stack([torch.sigmoid(x - number + 0.5) for number in range(1, 40)]).sum(dim=0)
    rbm = Rbm(weight=torch.zeros(1, 4), visible_bias=torch.zeros(1), hidden_bias=x, visible="gaussian", hidden="relu")
    torch.testing.assert_close(rbm.hidden_mean(torch.zeros(1, 1))[0], copies, atol=0.02, rtol=0)
    found = noisy_relu_(x.expand(100_000, 4).clone(), generator()).mean(dim=0)
    normal, deviation = torch.distributions.Normal(0, 1), torch.sigmoid(x).sqrt()
    wanted = x * normal.cdf(x / deviation) + deviation * normal.log_prob(x / deviation).exp()
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)
    with pytest.raises(InputError, match="Bernoulli hidden units only"):
        rbm.free_energy(torch.zeros(1, 1))


def test_equal_batches_use_every_row_once() -> None:
    for count, batch in itertools.product((1, 5, 64, 65, 127, 1000), (1, 7, 64, 500)):
        bounds = equal_batches(count, batch)
        assert [row for first, last in bounds for row in range(first, last)] == list(range(count))
        assert max(last - first for first, last in bounds) <= 1.5 * batch + 1


def test_the_same_seed_gives_the_same_weights() -> None:
    rows = (torch.rand(200, 12, generator=generator(3)) > 0.5).float()

    def learnt(seed: int, persistent: bool) -> torch.Tensor:
        drawn = generator(seed)
        rbm = Rbm.start(rows.mean(dim=0), 6, visible="bernoulli", generator=drawn)
        learning = ContrastiveDivergence.start(rbm, 32, persistent=persistent, generator=drawn)
        learn_rows(learning, rows, epochs=3, rate=0.1, generator=drawn)
        return rbm.weight

    for persistent in (True, False):
        assert torch.equal(learnt(0, persistent), learnt(0, persistent))
        assert not torch.equal(learnt(0, persistent), learnt(1, persistent))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="visible: gaussian, bernoulli"):
        Rbm.start(torch.zeros(3), 2, visible="poisson", generator=generator())
    with pytest.raises(InputError, match="do not fit"):
        Rbm(weight=torch.zeros(3, 2), visible_bias=torch.zeros(2), hidden_bias=torch.zeros(3), visible="bernoulli")
    with pytest.raises(InputError, match="at most 20 units, 30 came"):
        Rbm.start(torch.zeros(40), 30, visible="bernoulli", generator=generator()).log_partition()
    with pytest.raises(InputError, match="closed form"):
        tiny("gaussian").pseudo_log_likelihood(torch.zeros(1, 5).double())
