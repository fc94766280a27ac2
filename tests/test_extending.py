"""The package of docs/how-to/extend.md, installed: a backbone, a representation, a head and a layout in use."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shells import draw_shell

from drillcore import plugins
from drillcore.datasets.landing import import_dataset
from drillcore.errors import RecipeError, UnknownNameError
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_parts
from drillcore.retrain.releasing import promote_reference
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.online.batches import check_answers

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "extend.md"


def blocks() -> dict[str, str]:
    """The page's files by name."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return {name: text for name, text in found if "/" in name or name.endswith(".toml")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The package in a folder of its own that Python looks in, as an installer leaves it."""
    files = blocks()
    root = tmp_path_factory.mktemp("site")
    (root / "tidepool").mkdir()
    (root / "tidepool" / "__init__.py").write_text('"""Parts of one\'s own."""\n')
    for name, text in files.items():
        if name.startswith("tidepool/"):
            (root / name).write_text(text)
    info = root / "tidepool-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tidepool\nVersion: 0.1\n")
    points = re.findall(r'\[project\.entry-points\."(\S+)"\]\n(\w+) = "(\S+)"', files["pyproject.toml"])
    assert {group for group, _, _ in points} == set(plugins.GROUPS)
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {where}\n" for group, name, where in points))
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(root)
        plugins.found.cache_clear()
        yield files
    plugins.found.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tidepool"]:
        del sys.modules[name]


@pytest.fixture
def checkout(tracked: Settings, installed: dict[str, str], tmp_path: Path) -> Settings:
    source = tmp_path / "source"
    source.mkdir()
    for kind in ("bar", "dot", "ring"):
        for number in range(12):
            draw_shell(kind, number).save(source / f"{kind}-{number:03d}.png")
    import_dataset(tracked, "shells", source, layout="named")
    (tracked.models / "tide.yaml").write_text(installed["models/tide.yaml"])
    return tracked


def test_the_parts_are_known_by_name_and_checked_by_what_they_declare(checkout: Settings) -> None:
    recipe = load_recipe(checkout, "tide")
    check_parts(recipe)
    wrong = dataclasses.replace(recipe.representation, params={"scale": "much"})
    with pytest.raises(RecipeError, match=r"tide.yaml:\d+:\d+: representation.params"):
        check_parts(dataclasses.replace(recipe, representation=wrong))
    unknown = dataclasses.replace(recipe.head, name="nearest_men")
    with pytest.raises(RecipeError, match="nearest_mean"):
        check_parts(dataclasses.replace(recipe, head=unknown))
    dense = dataclasses.replace(recipe, task="dense_labels")
    with pytest.raises(RecipeError, match="dense_labels needs core_samples"):
        check_parts(dense)
    with pytest.raises(UnknownNameError, match="named"):
        import_dataset(checkout, "others", checkout.root, layout="names")


def test_from_images_to_a_champion_that_scores_and_serves(checkout: Settings, tmp_path: Path) -> None:
    with Retrain(checkout, "tide") as work:
        summary = work.run_all()
    assert summary.figures["accuracy"] > 0.6
    assert summary.verdict is not None
    refused = [rule["name"] for rule in summary.verdict["rules"] if not rule["passed"]]
    assert refused == ["weights"]  # random ones, on data of one's own
    proof = {row.stage: row.note for row in summary.stages}["parity"]
    assert "largest difference" in proof
    promote_reference(checkout, "tide", force=True)
    served = resolve(checkout, "tide")
    result = score(checkout, served, checkout.data / "shells", tmp_path / "scored")
    assert result.scored == 36
    rows = pd.read_parquet(tmp_path / "scored" / "part-00000.parquet")
    truth = [Path(path).name.partition("-")[0] for path in rows["path"]]
    assert np.mean(rows["label"] == truth) > 0.8
    # What a server does with it when it opens, and no package is needed for either: the file is all there is.
    model = open_model(served.path, sha256=served.sha256)
    check_answers(model)
    program = "import sys; sys.modules['tidepool'] = None\n"
    program += "from pathlib import Path\nfrom drillcore.runtime.model.session import open_model\n"
    program += f"import numpy as np\nmodel = open_model(Path({str(served.path)!r}))\n"
    program += "print(model.classify([np.zeros((30, 30, 1), np.uint8)]).label)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stderr
    shutil.rmtree(tmp_path / "scored")
    # Another retrain finds nothing new: the package's parts stand in the recipe's digest.
    with Retrain(checkout, "tide") as work:
        assert work.run_all().status == "unchanged"
