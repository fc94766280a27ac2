"""Weights: from files, by name, from packages and hubs, trained here."""
