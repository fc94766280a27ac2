"""Random forests and extra trees, grown as scikit-learn grows them."""
