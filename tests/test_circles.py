"""No two files import each other, at the top or inside a function; what only types need does not count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"


def modules() -> dict[str, Path]:
    """Return our files by module name."""
    paths = (path for package in sorted(SRC.glob("drillcore*")) for path in package.resolve().rglob("*.py"))
    linked = {package.resolve(): package.name for package in SRC.glob("drillcore*")}
    found = {}
    for path in paths:
        root = next(folder for folder in linked if path.is_relative_to(folder))
        parts = (linked[root], *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(node: ast.AST) -> Iterator[str]:
    """Yield what a file imports, and names of modules it imports from; blocks of `if TYPE_CHECKING` left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield str(child.module)
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imported(child)


def graph(files: dict[str, Path]) -> dict[str, set[str]]:
    """Return what each module imports of ours. A package's own parts are no circle with it: it is there before them."""
    return {
        name: {
            other
            for other in imported(ast.parse(path.read_text()))
            if other in files and other != name and not name.startswith(f"{other}.")
        }
        for name, path in files.items()
    }


def test_no_circles() -> None:
    found = graph(modules())
    assert "drillcore.errors" in found["drillcore.files"] | found["drillcore.settings"]
    tuple(TopologicalSorter(found).static_order())  # CycleError names the files


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import two\n")
    (tmp_path / "two.py").write_text("def late():\n    from one import name\n")
    with pytest.raises(CycleError, match="cycle"):
        TopologicalSorter(graph({"one": tmp_path / "one.py", "two": tmp_path / "two.py"})).prepare()
