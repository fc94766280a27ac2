"""Looking into a registered version; a retrain never needs it."""
