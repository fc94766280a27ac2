"""A small checkout that was retrained once."""

from retrained import retrained, retrained_template

__all__ = ["retrained", "retrained_template"]
