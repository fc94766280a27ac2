"""From images to core samples and one ONNX file where every pixel is answered: what dense tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillcore.datasets.manifest import Manifest
from drillcore.files import read_object, write_bytes
from drillcore.recipes import Recipe
from drillcore.recipes.cores import core_plan, image_channels
from drillcore.recipes.parts import value_range
from drillcore.settings import Settings
from drillcore.tasks import get_task
from drillcore.workflow.drilling import HEAD_FOLDER, load_backbone, load_images
from drillcore.workflow.exporting import DecodedImages, keep_model, metadata_of, parity_rows
from drillcore.workflow.opening import MODEL_FILE
from drillcore.workflow.records import Record

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.representations.answers import Answers
    from drillcore.representations.auto_context import AutoContext
    from drillcore.representations.core import CoreNetwork
    from drillcore.representations.core_samples import CoreSamples
    from drillcore.representations.drilling import Targets
    from drillcore.runtime.metadata import ModelMetadata

FIT_SPLITS = ("train", "val")
ANSWERS_FILE = "answers.json"
FIRST_FOLDER = "first-head"  # of two stages
_MAPS_SHOWN, _CALIBRATION_IMAGES = 6, 8
# Every pixel of each is compared with columns built in full, which takes a hundred times as long as the file does.
_PARITY_IMAGES, _PARITY_PIXELS = 4, 700_000


def fill_store(settings: Settings, recipe: Recipe, manifest: Manifest, record: Record) -> Record:
    """Bring the core samples the head learns from into the store; only missing views pass the backbone.

    A random subset is kept nowhere: it is drawn when the head is fitted.

    Raises:
        InputError: answers that do not fit the data set's classes, before anything is computed.
    """
    from drillcore.workflow.held_out import check_classes

    plan = core_plan(recipe)
    if get_task(recipe.task).named:
        check_classes(plan, manifest.classes)
    if plan.storage != "store":
        return {"rows": 0, "width": 0, "passed": 0, "note": f"a subset of at most {plan.max_rows:,} core samples"}
    found = samples(settings, recipe, manifest, record)
    count, width = found.rows.shape
    text = f"{count:,} x {width:,} {plan.dtype}, {found.extracted:,} views passed the backbone"
    return {"rows": count, "width": width, "passed": found.extracted, "note": text, "reused": not found.extracted}


def fit_rows(recipe: Recipe, manifest: Manifest) -> pd.DataFrame:
    """Return the rows a head learns from: train, and val unless the figures are measured on it."""
    return manifest.rows([split for split in FIT_SPLITS if split != recipe.evaluate.split])


def core_of(settings: Settings, recipe: Recipe, manifest: Manifest, record: Record) -> CoreNetwork:
    """Return the frozen network of a run's record with the planes of its recipe."""
    from drillcore.representations.core import CoreNetwork

    backbone = load_backbone(settings, recipe, manifest, record)
    channels = image_channels(recipe, manifest.channels)
    return CoreNetwork(backbone, recipe.backbone.taps, core_plan(recipe).spec, channels=channels)


def samples(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, *, subset: Path | None = None
) -> CoreSamples:
    """Return the core samples of the rows a head learns from; `subset`: the file of a random part of them."""
    from drillcore.representations.core_samples import extract

    plan, core = core_plan(recipe), core_of(settings, recipe, manifest, record)
    rows = fit_rows(recipe, manifest)
    return extract(
        core,
        list(rows["sha256"]),
        core_images(settings, manifest, core, rows),
        targets_of(settings, recipe, manifest, rows),
        settings,
        sampling=plan.sampling,
        views=plan.views,
        dtype=plan.dtype,
        storage=plan.storage,
        max_rows=plan.max_rows,
        file=subset,
    )


def targets_of(settings: Settings, recipe: Recipe, manifest: Manifest, rows: pd.DataFrame) -> Targets:
    """Return what is learnt at each pixel of manifest rows: labels, or the image's own colours."""
    from drillcore.datasets.targets import colour_values, label_reader
    from drillcore.representations.drilling import Targets

    if not get_task(recipe.task).named:
        colours = load_images(settings, 3, [manifest.path_of(path) for path in rows["path"]], value_range(recipe))
        return Targets(digests=list(rows["sha256"]), load=lambda number: colour_values(colours(number)), rule="colour")
    read, listed = label_reader(settings, manifest), rows.to_dict("records")
    return Targets(
        digests=list(rows["target_sha256"]),
        load=lambda number: read(listed[number]),
        classes=len(manifest.classes),
        rule=f"{manifest.layout}: {', '.join(manifest.classes)}",
    )


def answers_of(recipe: Recipe, folder: Path) -> Answers:
    """Return how a fitted run's values become answers: as the recipe says, or with the bias that was fitted."""
    from drillcore.representations.answers import Answers

    plan = core_plan(recipe)
    return plan.answers if plan.bias is None else Answers.from_dict(read_object(folder / ANSWERS_FILE))


def context_of(recipe: Recipe, folder: Path) -> AutoContext | None:
    """Return the first stage of a fitted run; None where it has one stage."""
    from drillcore.heads.base import load_head
    from drillcore.representations.auto_context import AutoContext

    plan = core_plan(recipe).context
    return None if plan is None else AutoContext(spec=plan.spec, head=load_head(folder / FIRST_FOLDER))


def export_model(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Write `model.onnx` to the run's folder: raw images of any size in, an answer for every pixel out."""
    from drillcore.export.dense import export_dense

    core, answers = core_of(settings, recipe, manifest, record), answers_of(recipe, folder)
    context = context_of(recipe, folder)
    metadata = _metadata(settings, recipe, manifest, core, answers, context)
    rows = fit_rows(recipe, manifest)
    chosen = rows.iloc[:: max(1, len(rows) // _CALIBRATION_IMAGES)][:_CALIBRATION_IMAGES]
    images = _decoded(settings, manifest, chosen, core)
    data = export_dense(
        core,
        _fitted_head(recipe, folder),
        mode=dense_mode(recipe),
        metadata=metadata,
        calibration=images,
        answers=answers,
        context=context,
        dtype=core_plan(recipe).dtype,
    )
    return keep_model(folder, data, metadata)


def prove_parity(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Compare every pixel of the run's file with network, interpolation and head, on some images and on odd sizes.

    Raises:
        ParityError: names the worst image and pixel; nothing is registered.
    """
    from drillcore.export.dense_parity import BATCHES, ODD_SIZES, DenseReference, check_dense_parity
    from drillcore.progress import progress

    core = core_of(settings, recipe, manifest, record)
    rows = parity_rows(manifest)
    chosen = rows.iloc[:: max(1, len(rows) // _PARITY_IMAGES)][:_PARITY_IMAGES]
    pixels = (chosen["width"].astype(int) * chosen["height"].astype(int)).cumsum()
    chosen = chosen.iloc[: max(1, int((pixels <= _PARITY_PIXELS).sum()))]
    with progress("parity", (len(chosen) + len(ODD_SIZES)) * len(BATCHES), unit="answers") as advance:
        report = check_dense_parity(
            (folder / MODEL_FILE).read_bytes(),
            DenseReference(
                core,
                _fitted_head(recipe, folder),
                answers_of(recipe, folder),
                context_of(recipe, folder),
                core_plan(recipe).dtype,
            ),
            _decoded(settings, manifest, chosen, core),
            mode=dense_mode(recipe),
            names=list(chosen["path"]),
            threads=settings.cpu_threads,
            advance=advance,
        )
    values = report.to_dict()
    text = f"{values['pixels']:,} pixels, largest difference {values['max_difference']:.1e}"
    if values["label_agreement"] is not None and dense_mode(recipe) != "exact":
        text += f"; {dense_mode(recipe)} agrees with exact on {values['label_agreement']:.4%} of the labels"
    return {**values, "note": text}, []


def draw_maps(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, rows: pd.DataFrame, folder: Path
) -> list[str]:
    """Draw the strongest maps of each plane of one image (paper 000, figure 3); return the file's name."""
    import torch

    from drillcore.evaluation.plane_maps import plane_maps_png

    core = core_of(settings, recipe, manifest, record)
    image = _decoded(settings, manifest, rows.iloc[:1], core)[0]
    with torch.inference_mode():
        maps = core(torch.from_numpy(image).permute(2, 0, 1)[None].to(torch.float32))
    shown = [(plane.name, values[0].numpy()) for plane, values in zip(core.planes, maps, strict=True)]
    png = plane_maps_png(image, shown, maps=_MAPS_SHOWN, title="Maps a core sample is read from")
    write_bytes(folder / "hypercolumn-maps.png", png)
    return [f"{folder.name}/hypercolumn-maps.png"]


def _fitted_head(recipe: Recipe, folder: Path) -> Any:
    from drillcore.heads.base import load_head, load_regressor

    return (load_head if get_task(recipe.task).named else load_regressor)(folder / HEAD_FOLDER)


def core_images(settings: Settings, manifest: Manifest, core: CoreNetwork, rows: pd.DataFrame) -> Callable[[int], Any]:
    """Return what decodes the image of a row's number as the core looks at it."""
    paths = [manifest.path_of(path) for path in rows["path"]]
    return load_images(settings, core.channels, paths, core.backbone.value_range)


def _decoded(settings: Settings, manifest: Manifest, rows: pd.DataFrame, core: CoreNetwork) -> Sequence[Any]:
    paths = [manifest.path_of(path) for path in rows["path"]]
    return DecodedImages(settings, paths, core.channels, core.backbone.value_range)


def _metadata(
    settings: Settings,
    recipe: Recipe,
    manifest: Manifest,
    core: CoreNetwork,
    answers: Answers,
    context: AutoContext | None,
) -> ModelMetadata:
    from drillcore.export.dense import dense_input_contract, tile_geometry

    more: dict[str, Any] = {"input": dense_input_contract(core, context)}
    if not answers.plain:
        more["answers"] = answers.to_dict()
    if (geometry := tile_geometry(core, dense_mode(recipe), answers, context)) is not None:
        halo, align = geometry
        more |= {"tile": -(-core_plan(recipe).tile // align) * align, "halo": halo, "align": align}
    if (unit := get_task(recipe.task).unit) is not None:
        more["unit"] = unit
    return metadata_of(settings, recipe, manifest, core.backbone, **more)


def dense_mode(recipe: Recipe) -> str:
    """Return the recipe's mode of the export."""
    return recipe.export.dense_mode or "exact"
