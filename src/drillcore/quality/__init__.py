"""Great Expectations suites: is a data set fit to train on? The only package that imports great_expectations, late."""

from drillcore.quality.outcome import QualityReport, QualityRow
from drillcore.quality.validation import validate

__all__ = ["QualityReport", "QualityRow", "validate"]
