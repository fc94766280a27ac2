from __future__ import annotations

import numpy as np
import pytest

from benchmarks.heads.svm import measure, smallest_speedup


def test_records_of_a_small_table() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    rows = (rng.normal(size=(4, 12))[labels] * 2 + rng.normal(size=(400, 12))).astype(np.float16)
    # One of each kind of reference: fitted whole, and for some of its problems.
    heads = [("linear_svm", "one_vs_rest"), ("kernel_svm", "one_vs_rest")]
    options = {"threads": 1, "seed": 0, "svm_rows": 160, "whole": True, "svms": ["/".join(head) for head in heads]}
    records = measure(rows[:300], labels[:300], rows[300:], labels[300:], options)
    assert {(record["head"], record["scheme"]) for record in records} == set(heads)
    # Of each: ours and theirs on the same rows; ours on all, but for the costly one.
    assert [(record["library"] == "drillcore", record["rows"]) for record in records] == [
        *[(True, 160), (False, 160), (True, 300)],
        *[(True, 160), (False, 160)],
    ]
    for ours, theirs in (records[:2], records[3:]):
        assert ours["accuracy"] > 0.9
        assert 0 < ours["log_loss"] < 0.4
        assert theirs["speedup"] == pytest.approx(theirs["seconds"] / ours["seconds"])
        if theirs["accuracy"] is not None:
            assert abs(theirs["accuracy_difference"]) <= 0.03
    assert smallest_speedup(records) > 0
    only = measure(rows[:60], labels[:60], rows[300:], labels[300:], {**options, "svms": ["linear_svm/one_vs_rest"]})
    assert [record["library"] for record in only] == ["drillcore", "LinearSVC"]
