"""An answer of a really trained small model and what it rests on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from drillcore.analysis import deconvolving
from drillcore.analysis.deconvolving import explain_image
from drillcore.analysis.feature_sheet import default_picture, write_picture
from drillcore.cli import cli
from drillcore.errors import BadImageError, InputError, UnknownNameError
from drillcore.evaluation.pictures.feature_pictures import projection_picture, sheet_of_nine, visible_box
from drillcore.retrain.opening import answers, open_for_batches, version_file
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]
MODEL = "shells-forest"


def image_of(settings: Settings, kind: str = "ring") -> Path:
    return sorted((settings.data / "shells" / kind).glob("*.png"))[3]


def test_the_answer_is_the_files_and_the_features_are_the_networks(retrained: Retrained) -> None:
    settings, _ = retrained
    path = image_of(settings)
    found = explain_image(settings, MODEL, path, features=4)
    told = answers(settings, open_for_batches(settings, version_file(settings, MODEL, 1)), [path])
    np.testing.assert_allclose(
        sorted(told.probabilities[0], reverse=True), [share for _, share in found.probabilities], atol=1e-6
    )
    assert found.label == found.explained == found.parts.manifest.classes[int(told.labels[0])]
    assert 1 <= len(found.features) <= 4
    strengths = [one.strength for one in found.features]
    assert strengths == sorted(strengths, reverse=True)
    import torch

    backbone = found.parts.backbone
    x = torch.from_numpy(backbone.prepare(found.pixels))[None]
    row = backbone.rows(x, ["layer3"])[0].numpy()
    for one in found.features:
        assert one.response.activation == pytest.approx(row[one.number], rel=1e-5)
        assert one.activation > 0
        assert one.standing > 0
        assert one.response.projection.shape == (1, 28, 28)
        assert np.any(one.response.projection)
        values = [top.activation for top in one.top]
        assert values == sorted(values, reverse=True)
        assert len(values) <= 9
    # As the network sees it: 1 - v / 255, squashed, turned back into grey levels.
    np.testing.assert_allclose(found.features[0].response.seen[:, :, 0] / 255, 1 - x[0, 0].numpy(), atol=0.003)


def test_the_picture_and_plain_values(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    found = explain_image(settings, MODEL, image_of(settings), features=2, explained="bar")
    assert found.explained == "bar"
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["taps"] == ["layer3"]
    assert {"path", "class", "activation"} == set(told["features"][0]["top_images"][0])
    write_picture(found, tmp_path / "why.png")
    write_picture(found, tmp_path / "again.png")
    assert (tmp_path / "why.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    with Image.open(tmp_path / "why.png") as image:
        assert min(image.size) > 500
    assert default_picture(settings, found).name.endswith("-0.png")
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        write_picture(found, tmp_path / "why.gif")


def test_a_tap_that_is_a_map_names_its_cell(retrained: Retrained) -> None:
    settings, _ = retrained
    found = explain_image(settings, MODEL, image_of(settings), features=1, taps=["layer2", "layer4"])
    one = found.features[0]
    assert one.tap in ("layer2", "layer4")
    assert "of 4 x 4" in one.unit or one.unit.startswith("unit ")
    assert found.weighted_by == "nothing"  # the forest has not seen these


def test_only_a_part_is_looked_at_where_all_would_cost_too_much(
    retrained: Retrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = retrained
    monkeypatch.setattr(deconvolving, "MOST_NEW", 12)
    assert explain_image(settings, MODEL, image_of(settings), features=1).compared > 12  # the store has them all
    found = explain_image(settings, MODEL, image_of(settings), features=1, taps=["layer1"])
    assert found.compared <= 12
    assert "are looked at" in found.notes[-1]


def test_training_images_that_are_gone_are_passed_over(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    path = tmp_path / "kept.png"
    shutil.copyfile(image_of(settings), path)
    for kind in ("bar", "dot", "ring"):
        shutil.rmtree(settings.data / "shells" / kind)
    found = explain_image(settings, MODEL, path, features=2)
    assert found.features
    assert all(not one.top for one in found.features)
    write_picture(found, tmp_path / "why.png")


def test_what_cannot_be_explained_is_one_line(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    path = image_of(settings)
    with pytest.raises(InputError, match="no such image"):
        explain_image(settings, MODEL, tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadImageError):
        explain_image(settings, MODEL, tmp_path / "text.png")
    with pytest.raises(UnknownNameError, match="unknown class 'crab'"):
        explain_image(settings, MODEL, path, explained="crab")
    shutil.rmtree(settings.state / "backbones")
    with pytest.raises(InputError, match="not inside the ONNX file in a form that can be taken apart"):
        explain_image(settings, MODEL, path)


def test_projections_as_pictures() -> None:
    projection = np.zeros((1, 6, 5), np.float32)
    projection[0, 2, 1], projection[0, 3, 3], projection[0, 5, 4] = 2.0, -1.0, 0.01
    dark = projection_picture(projection, darker=True)[:, :, 0]
    assert (dark[2, 1], dark[3, 3], dark[0, 0]) == (0, 191, 128)
    light = projection_picture(projection, darker=False)[:, :, 0]
    assert (light[2, 1], light[3, 3]) == (255, 64)
    assert visible_box(projection) == (slice(2, 4), slice(1, 4))  # 0.01 is not seen
    assert visible_box(np.zeros((3, 2, 2), np.float32)) == (slice(0, 2), slice(0, 2))
    sheet = sheet_of_nine([dark[:, :, None]] * 4)
    assert sheet.shape[0] == sheet.shape[1]
    assert (sheet[-1, -1] == 255).all()


def test_the_command_prints_and_writes(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    monkeypatch.setenv("DRILLCORE_ROOT", str(settings.root))
    arguments = ["explain", MODEL, str(image_of(settings)), "--features", "2"]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert Path(told["file"]).is_file()
    assert Path(told["file"]).parent == settings.state / "explanations"
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert f"strongest features of {told['label']}" in done.stdout
