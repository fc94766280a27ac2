from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.representations.binary_codes.itq import first_rotation, fit_itq, quantisation_loss, signs


def vectors(count: int = 1000, width: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, width)) * np.linspace(0.5, 3, width) + 5


def test_the_loss_never_rises_and_falls_in_all() -> None:
    losses = fit_itq(vectors(), 8).losses
    assert len(losses) == 51
    assert (np.diff(losses) <= 1e-9).all()
    assert losses[-1] < losses[0] - 0.1


def test_a_known_rotation_is_found_again() -> None:
    rng = np.random.default_rng(3)
    corners = rng.choice([-1.0, 1.0], (4000, 8))
    turned = corners @ first_rotation(8, 5).T + rng.normal(0, 0.02, corners.shape) + 7
    fitted = fit_itq(turned, 8)
    assert fitted.losses[-1] < 0.02
    bits = fitted.project(turned) > 0
    # The same bits but for their order and sense: each is one of the planted ones, each once.
    agreement = np.abs(signs(fitted.project(turned)).T @ corners) / len(corners)
    assert (agreement.max(axis=1) > 0.999).all()
    assert sorted(agreement.argmax(axis=1)) == list(range(8))
    assert bits.mean() == pytest.approx(0.5, abs=0.05)


def test_signs_of_principal_components_are_the_start_that_rotations_improve() -> None:
    rows = vectors()
    centred = rows - rows.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:8].T
    assert fit_itq(rows, 8).losses[-1] < quantisation_loss(centred @ axes)


def test_the_bias_is_the_centring() -> None:
    rows = vectors()
    fitted = fit_itq(rows, 4, rotations=3)
    assert np.allclose(fitted.project(rows.mean(axis=0)[None]), 0, atol=1e-9)
    assert np.allclose(fitted.weights.T @ fitted.weights, np.eye(4), atol=1e-9)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others() -> None:
    rows = vectors()
    assert np.array_equal(fit_itq(rows, 8, seed=1).weights, fit_itq(rows, 8, seed=1).weights)
    assert not np.array_equal(fit_itq(rows, 8, seed=1).weights, fit_itq(rows, 8, seed=2).weights)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (vectors(8), "8 bits need more than 8 feature vectors to be learnt from, 8 came"),
        (np.ones((100, 32)), "8 bits need as many directions in which features differ, there are 0"),
        (vectors(100, 5), "8 bits need as many directions in which features differ, there are 5"),
        (np.full((100, 32), np.nan), "finite"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(rows: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_itq(rows, 8)
