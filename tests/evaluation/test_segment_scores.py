from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from drillcore.evaluation.figures.segment_scores import (
    ImageScores,
    intersection_over_union,
    merged,
    rand_index,
    score_tables,
    segment_figures,
    shared_pixels,
    variation_of_information,
)

BENCH = Path(__file__).parents[3] / "shared" / "data" / "bsds_bench5.zip"
SEGMENTS = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
TRUTH = np.array([[0, 0, 0, 1], [0, 0, 0, 1]])


def test_the_table_counts_shared_pixels_and_unknown_ones_apart() -> None:
    assert shared_pixels(SEGMENTS, TRUTH).tolist() == [[4, 0, 0], [2, 2, 0]]
    assert shared_pixels(SEGMENTS, np.where(TRUTH == 1, -1, 0)).tolist() == [[4, 0], [2, 2]]
    with pytest.raises(ValueError, match="segments are"):
        shared_pixels(SEGMENTS, TRUTH[:1])


def test_scores_worked_out_by_hand() -> None:
    table = shared_pixels(SEGMENTS, TRUTH)
    assert intersection_over_union(table).tolist() == [[4 / 6, 0], [2 / 8, 2 / 4]]
    # Pairs of pixels, 28: together in both 6 + 1 + 1, apart in both 4 * 2.
    assert rand_index(table) == pytest.approx(16 / 28)
    # H(S) = 1 bit, H(T) of 3/4, 1/4 = 0.811278, joint entropy of 1/2, 1/4, 1/4 = 1.5.
    assert variation_of_information(table) == pytest.approx(2 * 1.5 - 1 - 0.8112781244591328)


def test_a_segment_pays_for_unknown_pixels_and_pairs_do_not_know_them() -> None:
    table = shared_pixels(np.zeros((2, 4), int), np.where(TRUTH == 1, 0, -1))
    assert intersection_over_union(table).tolist() == [[2 / 8]]
    assert rand_index(table) == 1
    assert variation_of_information(table) == 0


def test_the_table_of_unions_is_that_of_their_parts() -> None:
    rng = np.random.default_rng(0)
    parts, truth = rng.integers(0, 9, (20, 30)), rng.integers(-1, 4, (20, 30))
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    assert np.array_equal(merged(shared_pixels(parts, truth), groups), shared_pixels(groups[parts], truth))


def two_people() -> ImageScores:
    """At two parameters: the segments above, and the whole image."""
    other = np.zeros_like(TRUTH)
    whole = np.zeros_like(SEGMENTS)
    return score_tables([[shared_pixels(found, one) for one in (TRUTH, other)] for found in (SEGMENTS, whole)])


def test_figures_of_several_people_and_parameters() -> None:
    scores = two_people()
    assert scores.segments.tolist() == [2, 1]
    assert scores.best.tolist() == [[4 / 6, 2 / 4, 4 / 8], [6 / 8, 2 / 8, 1]]
    figures = segment_figures([scores], chosen=1)
    assert figures["segmentation_iou"] == pytest.approx(2 / 3)
    assert figures["segmentation_iou_best_person"] == 1
    # Areas 6, 2 of one and 8 of the other person, 16 in all.
    first, second = (6 * 4 / 6 + 2 / 2 + 8 / 2) / 16, (6 * 6 / 8 + 2 / 4 + 8) / 16
    assert first < second
    assert figures["covering_ods"] == figures["covering_ois"] == figures["covering"] == pytest.approx(second)
    assert figures["covering_best"] == pytest.approx((6 * 6 / 8 + 2 / 2 + 8) / 16)
    assert segment_figures([scores], chosen=0)["covering"] == pytest.approx(first)


def test_ois_is_each_image_s_own_and_ods_one_for_all() -> None:
    fine = score_tables([[shared_pixels(found, SEGMENTS)] for found in (SEGMENTS, np.zeros_like(SEGMENTS))])
    coarse = score_tables([[shared_pixels(found, TRUTH * 0)] for found in (SEGMENTS, np.zeros_like(SEGMENTS))])
    figures = segment_figures([fine, coarse])
    assert figures["covering_ois"] == figures["probabilistic_rand_ois"] == 1
    assert figures["variation_of_information_ois"] == 0
    assert figures["covering_ods"] == pytest.approx(0.75)


@pytest.mark.shared
@pytest.mark.skipif(not BENCH.is_file(), reason="the official benchmark's five images are not here")
def test_the_official_benchmark_s_outputs_are_reproduced_to_all_printed_digits() -> None:
    from scipy.io import loadmat

    with zipfile.ZipFile(BENCH) as archive:
        read = {name: archive.read(name) for name in archive.namelist() if name.endswith((".mat", ".txt"))}

    def numbers(name: str) -> np.ndarray:
        return np.loadtxt(io.BytesIO(read[f"bsds_bench5/test_4/{name}.txt"]))

    tried = []
    for name in sorted(name for name in read if "/segs/" in name):
        found = loadmat(io.BytesIO(read[name]))["segs"][0]
        people = loadmat(io.BytesIO(read[name.replace("/segs/", "/groundTruth/")]))["groundTruth"][0]
        truths = [one["Segmentation"][0, 0].astype(np.int64) - 1 for one in people]
        tried.append([[shared_pixels(one.astype(np.int64) - 1, truth) for truth in truths] for one in found])
    images = [score_tables(tables) for tables in tried]
    figures = segment_figures(images)

    def backward(tables: list[np.ndarray]) -> float:
        """How well the segments are covered by people's, the other way round."""
        area = tables[0].sum(axis=1)
        best = np.max([intersection_over_union(table).max(axis=1) for table in tables], axis=0)
        return float(f"{(best * area).sum():.6g}") / float(area.sum())

    def same(found: np.ndarray | list[float], printed: np.ndarray) -> None:
        """To the six significant digits of the benchmark's files."""
        assert [f"{value:.6g}" for value in np.ravel(found)] == [f"{value:.6g}" for value in np.ravel(printed)]

    area = np.array([image.area.sum() for image in images])
    # The benchmark sums up what it has written to files of six digits.
    covered = np.array([[float(f"{value:.6g}") for value in image.covered] for image in images])
    ods, ois = covered.sum(axis=0).max() / area.sum(), covered.max(axis=1).sum() / area.sum()
    assert figures["covering_ods"] == pytest.approx(ods, abs=1e-6)
    assert figures["covering_ois"] == pytest.approx(ois, abs=1e-6)
    same([ods, ois, figures["covering_best"]], numbers("eval_cover")[1:])
    same(covered.sum(axis=0) / area.sum(), numbers("eval_cover_th")[:, 1])
    same(covered.max(axis=1) / area, numbers("eval_cover_img")[:, 2])
    chosen = covered.argmax(axis=1)
    same(
        [backward(tables[index]) for tables, index in zip(tried, chosen, strict=True)], numbers("eval_cover_img")[:, 3]
    )
    rand, information = (
        np.mean([[float(f"{value:.6g}") for value in getattr(image, name)] for image in images], axis=0)
        for name in ("rand", "information")
    )
    same(np.stack([rand, information], axis=1), numbers("eval_RI_VOI_thr")[:, 1:])
    names = ("probabilistic_rand", "variation_of_information")
    printed = numbers("eval_RI_VOI")
    same([figures[f"{names[0]}_{kind}"] for kind in ("ods", "ois")], printed[1:3])
    same([figures[f"{names[1]}_{kind}"] for kind in ("ods", "ois")], printed[4:6])
