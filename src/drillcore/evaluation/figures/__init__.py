"""Figures: numbers that say what answers are worth."""
