"""Finding the images most like one, or the segments most like a part of it, among those a model can look at.

By the features of a classifier: cosine. By the codes of a model of segments (paper 002): Hamming distance, of an image
by the bits that most of its area has, of a part by those that most of its pixels have. What was looked at once is kept
in the feature store; an image more costs one look.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from drillcore.ahead import side_by_side
from drillcore.analysis.code_tables import CodeTables, CodeWriter, image_code
from drillcore.analysis.nearest import CodeSearch, nearest_by_cosine, padded
from drillcore.analysis.searched import check_scored_by, scored_segments, searched_images
from drillcore.analysis.similar import COSINE, HAMMING, Box, Hit, Similar
from drillcore.arrays import Bytes
from drillcore.digests import sha256_file
from drillcore.errors import BadImageError, InputError
from drillcore.progress import progress
from drillcore.runtime.dense.answering import Scene
from drillcore.runtime.images.decode import decode_file, probe_file
from drillcore.runtime.images.decode_worker import read_image
from drillcore.runtime.model.finishing import finished
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model, open_model
from drillcore.runtime.segments.segment_params import segment_params
from drillcore.runtime.segments.segmenting import CODE, Segment, describe
from drillcore.settings import Settings
from drillcore.store import FeatureStore
from drillcore.tasks import CLASSIFICATION, MULTILABEL, SEGMENTS

LeftOut = list[tuple[str, str]]  # path and reason


def find_similar(
    settings: Settings,
    served: ServedModel,
    image: Path,
    *,
    folder: Path | None = None,
    below: Path | None = None,
    count: int = 20,
    box: Box | None = None,
) -> Similar:
    """Find what is like an image, or like a part of it.

    Args:
        settings: where things are.
        served: the model that is asked.
        image: a file.
        folder: where is looked: what `score` wrote, or a folder of images; None: the model's own data set.
        below: the folder that the paths of a scored one are relative to; None: the current one.
        count: how many.
        box: x0, y0, x1, y1 of the part in pixels, half-open. A model of segments then finds segments.

    Raises:
        InputError: no such folder, no image in it, a box outside of the image, or a model without codes or one row for
            each image.
        BadImageError: the image cannot be read.
        ReceiptError, DataError, RegistryError: as `searched_images`, `find_parts`.
    """
    sha256 = probe_file(image, max_pixels=settings.max_pixels).sha256
    model = open_model(served.path, sha256=served.sha256, device=settings.device, threads=1)
    about = model.metadata
    if about.task not in (SEGMENTS, CLASSIFICATION, MULTILABEL):
        raise InputError(
            f"{served} has the task {about.task}, whose rows are of pixels; similar is for the tasks "
            f"{CLASSIFICATION}, {MULTILABEL} and {SEGMENTS}"
        )
    pixels = decode_file(image, about.channels, **settings.decoding(about.value_range))
    if box is not None:
        _check_box(box, pixels)
    searched = searched_images(settings, served, about.data_digest, folder=folder, below=below)
    asked = Similar(
        served=served, image=image, sha256=sha256, channels=about.channels, box=box, searched=searched, measure=COSINE,
        bits=None, rows=0, added=0, hits=[], left_out=[],
    )  # fmt: skip
    if about.task == SEGMENTS:
        return _by_codes(settings, asked, model, pixels, count)
    return _by_features(settings, asked, pixels, count)


def _check_box(box: Box, pixels: Bytes) -> None:
    x0, y0, x1, y1 = box
    height, width = pixels.shape[:2]
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"the box {x0},{y0},{x1},{y1} does not lie in the image of {width} x {height} pixels: x0,y0,x1,y1 with "
            "0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height are expected"
        )


def _by_codes(settings: Settings, asked: Similar, model: Model, pixels: Bytes, count: int) -> Similar:
    params, tables = segment_params(model.metadata), CodeTables(settings, asked.served.sha256)
    left_out, added = _add_missing(settings, asked, model, tables)
    gone = {path for path, _ in left_out}
    images = [one for one in asked.searched.images if one.path not in gone]
    code, listed = _parted(model, pixels)
    if asked.box is None:
        codes = np.array([np.frombuffer(one.code, np.uint8) for one in listed])
        wanted, store = image_code(codes, np.array([one.area for one in listed])), tables.images
    else:
        x0, y0, x1, y1 = asked.box
        inside = code[:, y0:y1, x0:x1]
        whole = describe(np.zeros(inside.shape[1:], np.int32), inside, params)[0]
        wanted, store = np.frombuffer(whole.code, np.uint8), tables.codes
    search = CodeSearch(store, store.spec.keys([one.sha256 for one in images]))
    owners, rows, distances = search.nearest(padded(wanted[None])[0], count)
    hits = []
    for owner, row, distance in zip(owners.tolist(), rows.tolist(), distances.tolist(), strict=True):
        one = images[owner]
        if asked.box is None:
            hits.append(Hit(image=one, distance=distance))
            continue
        area, place = tables.place(one.sha256, row)
        hits.append(Hit(image=one, distance=distance, segment=row, area=area, box=place))
    return dataclasses.replace(
        asked, measure=HAMMING, bits=sum(params.bits), rows=len(search), added=added, hits=hits, left_out=left_out
    )


def _add_missing(settings: Settings, asked: Similar, model: Model, tables: CodeTables) -> tuple[LeftOut, int]:
    """Bring the searched images into the tables; return which could not be, and how many were."""
    searched, left_out = asked.searched, LeftOut()
    if searched.scored is not None:
        check_scored_by(searched.scored, asked.served)
    missing = [searched.images[number] for number in tables.missing([one.sha256 for one in searched.images])]
    if not missing:
        return left_out, 0
    with CodeWriter(tables) as writer:
        if searched.scored is not None:
            with progress("reading segments", len(missing), unit="images") as advance:
                for sha256, segments in scored_segments(searched.scored, {one.sha256 for one in missing}):
                    writer.add(sha256, segments)
                    advance(1)
            return left_out, len(missing)

        def look(number: int) -> list[Segment] | str:
            try:
                how = settings.decoding(model.metadata.value_range)
                return _parted(model, decode_file(missing[number].file, asked.channels, **how))[1]
            except (BadImageError, InputError) as error:
                return str(error)

        seen = side_by_side(look, len(missing), settings.cpu_threads, "looking at images")
        for one, found in zip(missing, seen, strict=True):
            if isinstance(found, str):
                left_out.append((one.path, found))
            else:
                writer.add(one.sha256, found)
    return left_out, len(missing) - len(left_out)


def _parted(model: Model, pixels: Bytes) -> tuple[Bytes, list[Segment]]:
    """Return an image's code uint8 [bytes, H, W], and what each of its segments is. Raises InputError: too large."""
    answer: dict[str, Any] = finished(model.metadata, Scene(model, pixels, (CODE,)).run(), pixels)
    return answer[CODE], describe(answer[SEGMENTS], answer[CODE], segment_params(model.metadata))


def _by_features(settings: Settings, asked: Similar, pixels: Bytes, count: int) -> Similar:
    from drillcore.analysis.trained_parts import find_parts
    from drillcore.representations.activations.image_rows import ImageRows

    if not asked.served.version:
        raise InputError(
            f"{asked.served} is an exported file: features are those of the trained parts of a registered model"
        )
    reference = f"{asked.served.model}@{asked.served.version}"
    parts = find_parts(settings, reference, command="similar", images=True)
    kind = parts.run.representation
    if not isinstance(kind, ImageRows) or kind.per_image > 1:
        raise InputError(f"{parts.name} has other rows than one for each image ({kind.name}); similar needs those")
    left_out, images = LeftOut(), asked.searched.images
    store = FeatureStore.of(settings, parts.representation.spec(parts.run))
    new = store.missing(store.spec.keys([one.sha256 for one in images]))
    missing = [images[place] for place in np.flatnonzero(new).tolist()]
    how = settings.decoding(parts.backbone.value_range)
    read = side_by_side(
        lambda number: read_image(str(missing[number].file), asked.channels, **how).detail,
        len(missing),
        settings.cpu_threads,
        "looking at images",
    )
    left_out += [(one.path, detail) for one, detail in zip(missing, read, strict=True) if detail]
    gone = {path for path, _ in left_out}
    images = [one for one in images if one.path not in gone]
    if not images:
        raise InputError(f"no image of {asked.searched.name} could be looked at; the first: {': '.join(left_out[0])}")
    found = parts.features_outside(
        settings.root, parts.outside_table([(str(one.file.absolute()), one.sha256) for one in images])
    )
    with tempfile.TemporaryDirectory() as scratch:
        file, sha256 = asked.image, asked.sha256
        if asked.box is not None:
            x0, y0, x1, y1 = asked.box
            cut = pixels[y0:y1, x0:x1]
            file = Path(scratch) / "part.png"
            Image.fromarray(cut[:, :, 0] if cut.shape[2] == 1 else cut).save(file)
            sha256 = sha256_file(file)
        own = parts.features_outside(settings.root, parts.outside_table([(str(file.absolute()), sha256)]))
        query = np.asarray(own.rows, np.float32)[0]
    places, distances = nearest_by_cosine(found.rows, query, count)
    hits = [
        Hit(image=images[place], distance=distance)
        for place, distance in zip(places.tolist(), distances.tolist(), strict=True)
    ]
    return dataclasses.replace(asked, rows=len(images), added=found.extracted, hits=hits, left_out=left_out)
