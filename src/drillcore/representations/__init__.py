"""Representations: images in, tables of features out."""

from drillcore.representations.activations import FeatureTable, extract, feature_spec
from drillcore.representations.feeding import prepare_all, prepared_batches

__all__ = ["FeatureTable", "extract", "feature_spec", "prepare_all", "prepared_batches"]
