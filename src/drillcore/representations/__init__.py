"""Representations: images in, tables of features out."""
