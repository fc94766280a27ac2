"""Codes of a network's cells, a few bits each, learnt without labels (paper 002)."""
