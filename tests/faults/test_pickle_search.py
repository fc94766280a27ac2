"""No source file can load a pickle, run text as code, or start a shell: a search of their syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {
    ("torch", "load"),
    ("torch", "save"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("pd", "read_pickle"),
    ("pd", "eval"),
    ("onnx", "load_model"),
}
UNSAFE_NAMES = {"UnsafeLoader", "FullLoader", "Loader", "CLoader"}


def findings(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found += [f"{where}: {item.name}" for item in node.names if item.name.split(".")[0] in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS:
            found.append(f"{where}: {node.module}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in FORBIDDEN_METHODS or (
                node.value.id == "yaml" and node.attr in UNSAFE_NAMES
            ):
                found.append(f"{where}: {node.value.id}.{node.attr}")
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append(f"{where}: {node.func.id}(")
            is_numpy_load = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) in ("np.load", "numpy.load")
            safe = any(item.arg == "allow_pickle" and ast.unparse(item.value) == "False" for item in node.keywords)
            if is_numpy_load and not safe:
                found.append(f"{where}: np.load without allow_pickle=False")
            if any(item.arg == "shell" and ast.unparse(item.value) != "False" for item in node.keywords):
                found.append(f"{where}: a shell")
    return found


def test_no_source_file_can_load_a_pickle() -> None:
    files = [path for folder in ("src", "serving", "pipelines") for path in (SOURCE / folder).rglob("*.py")]
    assert len(files) > 100
    found = {path.name: bad for path in files if (bad := findings(ast.parse(path.read_text())))}
    # The one place where torchvision's .pth is read: in a process of its own, tensors only.
    (converted,) = found.pop("pth_conversion.py")
    assert converted.endswith("torch.load")
    text = (SOURCE / "src" / "drillcore" / "backbones" / "weights" / "pth_conversion.py").read_text()
    assert text.count("torch.load(") == text.count("weights_only=True)") == 1
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(x)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "yaml.load(x, yaml.FullLoader)",
        "eval(x)",
        "run(x, shell=True)",
    ],
)
def test_the_search_finds(text: str) -> None:
    assert findings(ast.parse(text))
