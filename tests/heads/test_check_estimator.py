"""scikit-learn's own checks of estimators; what a head does otherwise on purpose is declared, with its reason."""

from __future__ import annotations

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator

from drillcore.heads.catalogue import head_class

INDICES = "labels are class indices, whole numbers from 0, in the order of the model's class list"
OWN_WORDS = "refused, in words of our own"
DRAWS = "a forest draws rows and does not weigh them"
EVERY = {
    "check_n_features_in_after_fitting": OWN_WORDS,
    "check_all_zero_sample_weights_error": OWN_WORDS,
    "check_estimators_empty_data_messages": OWN_WORDS,
    "check_estimators_nan_inf": INDICES,
    "check_classifiers_classes": INDICES,
    "check_supervised_y_2d": "a column of labels is no vector of labels: a matrix means several labels",
}
DECLARED = {
    "linear_svm": {
        "check_sample_weights_not_an_array": "rows are arrays, or sources that are read by number",
        "check_classifier_data_not_an_array": "rows are arrays, or sources that are read by number",
        "check_sample_weight_equivalence_on_dense_data": "folds of the calibration count rows, whatever they weigh",
        "check_classifiers_train": "two classes have a decision each, as the exported file has",
    },
    "forest": {
        **dict.fromkeys(
            (
                "check_sample_weights_pandas_series",
                "check_sample_weights_not_an_array",
                "check_sample_weights_list",
                "check_sample_weights_shape",
                "check_sample_weights_not_overwritten",
                "check_sample_weight_equivalence_on_dense_data",
                "check_classifiers_one_label_sample_weights",
            ),
            DRAWS,
        ),
        "check_dict_unchanged": "its trees are kept as arrays, which the check compares as one truth",
    },
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(DECLARED))
def test_only_what_is_declared_fails(name: str) -> None:
    head = head_class(name)()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(head, on_fail=None, on_skip=None)
    failed = {found["check_name"] for found in results if found["status"] == "failed"}
    assert failed - set(EVERY) - set(DECLARED[name]) == set()
    assert sum(found["status"] == "passed" for found in results) > 40
