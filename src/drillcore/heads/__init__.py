"""Second stages: estimators on a table of features, kept as arrays and JSON."""
