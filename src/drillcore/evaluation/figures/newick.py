"""The tree of the classes as text in Newick form, which programs for phylogenies read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from drillcore.evaluation.figures.class_tree import ClassTree

_PLAIN = re.compile(r"[A-Za-z0-9.\-]+")  # labels that Newick reads as they are; an underscore would become a blank


def to_newick(tree: ClassTree, names: Sequence[str]) -> str:
    """Return the tree in Newick form, with branch lengths: the path between two classes is as long as their distance.

    A node lies at half the distance at which it was joined, so that all classes are equally far from the root. Names of
    anything but letters, digits, dots and dashes stand in single quotes, a quote inside doubled.

    Args:
        tree: of K classes.
        names: of the classes.

    Raises:
        InputError: another number of names.

    Example:
        >>> from drillcore.evaluation.figures.class_tree import agglomerate
        >>> to_newick(agglomerate([[0.0], [1.0], [5.0]]), ["ant", "bee", "o'wl_(young)"])
        "('o''wl_(young)':2.25,(bee:0.5,ant:0.5):1.75);"
    """
    tree.check_names(names)
    texts = {leaf: _label(names[leaf]) for leaf in range(tree.leaves)}
    for node in range(tree.leaves, 2 * tree.leaves - 1):
        parts = []
        for child in tree.children(node) or ():
            length = max(0.0, (tree.height(node) - tree.height(child)) / 2)
            parts.append(f"{texts.pop(child)}:{length:.9g}")
        texts[node] = f"({','.join(parts)})"
    return f"{texts[2 * tree.leaves - 2]};"


def _label(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    return "'" + " ".join(name.split("\n")).replace("'", "''") + "'"
