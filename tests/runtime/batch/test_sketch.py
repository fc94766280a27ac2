"""Sketches of answers: a sample of distinct images that does not depend on how the answers were cut."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from drillcore.errors import DataError
from drillcore.runtime.batch.sketch import SAMPLE, Sketch, Sketcher, answer_vectors, merged, read_sketch, sketch_of
from drillcore.tasks import CLASSIFICATION, MULTILABEL

NAMES = [f"class {number}" for number in range(8)]


def answers(count: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    digests = [hashlib.sha256(f"{seed}-{number}".encode()).hexdigest() for number in range(count)]
    return random.dirichlet(np.full(len(NAMES), 0.3), count).astype(np.float32), digests


def made(probabilities: np.ndarray, digests: list[str]) -> Sketch:
    return sketch_of("0" * 64, NAMES, CLASSIFICATION, probabilities, digests)


def test_vectors_by_hand() -> None:
    rows = np.array([[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05, 0.0]], np.float32)
    found = answer_vectors(rows, CLASSIFICATION)
    np.testing.assert_allclose(found, [[0.3, 0.2, 0.2, 0.1, 0.1, 0, 0, 0, 0.1]], atol=1e-3)
    np.testing.assert_allclose(answer_vectors(rows, MULTILABEL)[0, :-1], rows[0], atol=1e-3)


def test_cuts_and_order_change_nothing() -> None:
    probabilities, digests = answers(3 * SAMPLE)
    whole = made(probabilities, digests)
    assert (whole.rows, len(whole.digests)) == (3 * SAMPLE, SAMPLE)
    numbers = [int(digest[:16], 16) for digest in digests]
    assert whole.digests.tolist() == sorted(numbers)[:SAMPLE]
    sample = probabilities[np.argsort(np.array(numbers, np.uint64))[:SAMPLE]]
    away = np.abs(whole.labels - np.bincount(sample.argmax(1), minlength=len(NAMES))).sum()
    assert (whole.labels.sum(), whole.confidence.sum()) == (SAMPLE, SAMPLE)
    assert away <= 4  # float16 has ties that float32 has not
    cuts = [slice(0, 7), slice(7, 4500), slice(4500, None)]
    parts = [made(probabilities[cut], digests[cut]) for cut in cuts]
    for order in ([0, 1, 2], [2, 0, 1]):
        assert merged([parts[place] for place in order], "0" * 64, NAMES).to_bytes() == whole.to_bytes()
    one_by_one = Sketcher("0" * 64, NAMES)
    for start in range(0, len(digests), 100):
        one_by_one.add_sketch(made(probabilities[start : start + 100], digests[start : start + 100]))
    assert one_by_one.sketch().to_bytes() == whole.to_bytes()


def test_an_image_given_twice_is_two_answers_and_one_image() -> None:
    probabilities, digests = answers(30)
    twice = made(np.concatenate([probabilities] * 2), digests * 2)
    assert (twice.rows, len(twice.digests)) == (60, 30)
    np.testing.assert_array_equal(twice.labels, made(probabilities, digests).labels)
    np.testing.assert_array_equal(twice.confidence, made(probabilities, digests).confidence)


def test_a_file_comes_back_and_what_is_none_is_named() -> None:
    whole = made(*answers(50))
    back = read_sketch(whole.to_bytes())
    for item in dataclasses.fields(Sketch):
        np.testing.assert_array_equal(getattr(back, item.name), getattr(whole, item.name))
    with pytest.raises(DataError, match=r"x\.npz cannot be read"):
        read_sketch(b"PK", "x.npz")
    with pytest.raises(DataError, match="of the file 000000000000, not of 1111"):
        merged([whole], "1" * 64, NAMES)
