"""The feature store: rows found again by what they were computed from."""

from drillcore.store.spec import FeatureSpec
from drillcore.store.store import FeatureStore, TableInfo
from drillcore.store.writer import StoreWriter

__all__ = ["FeatureSpec", "FeatureStore", "StoreWriter", "TableInfo"]
