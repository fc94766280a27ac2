"""Three published sets of paper 003, as their users download them: MIT-67, Birds-200, and the human attributes of H3D.

MIT indoor scenes (Quattoni and Torralba 2009): 15,620 images of 67 classes, of which two lists name 80 and 20 a class.

    Images/<class>/<image>.jpg   TrainImages.txt, TestImages.txt: <class>/<image>.jpg, one a line

Caltech-UCSD Birds 200-2011 (Wah et al. 2011): 11,788 images of 200 species, a box around each bird. Images are cropped
to their boxes, as the paper's protocol has it.

    images/<class>/<image>.jpg
    images.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt, classes.txt: lines of number and value

Human attributes (Bourdev, Maji and Malik 2011): 8,035 people, nine attributes of each: yes, no, or not told.

    {train,val,test}/<image>.jpg and in each folder labels.txt: <image>.jpg x y width height a1 ... a9, a in 1, -1, 0

A person's box becomes an image of its own that has the attributes which are 1; those which are 0 are neither learnt nor
judged: they are written as Pascal VOC writes what is too difficult.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from drillcore.datasets.adapters.annotated import Annotated, Thing, converted
from drillcore.datasets.adapters.base import Choices, Conversion
from drillcore.datasets.base import TEST, TRAIN, VAL, Box, images
from drillcore.datasets.layouts.voc import ANNOTATIONS, IMAGES, make_folders, write_list
from drillcore.datasets.layouts.voc_annotation import write_boxes
from drillcore.errors import BadImageError, LayoutError
from drillcore.runtime.images.decode import decode_file

ATTRIBUTES = ("male", "long hair", "glasses", "hat", "t-shirt", "long sleeves", "shorts", "jeans", "long pants")
_MIT_LISTS = {TRAIN: "TrainImages.txt", TEST: "TestImages.txt"}
_BIRD_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt")


def from_mit67(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Take the listed images, 80 to learn from and 20 to test on of each class. Raises LayoutError."""
    root = _root(source, "Images", "MIT-67 is Images/<class>/<image>.jpg with TrainImages.txt and TestImages.txt")
    made = Conversion("classes", folder)
    for split, name in _MIT_LISTS.items():
        listed = next((path for path in (root / name, root / "Images" / name) if path.is_file()), None)
        if listed is None:
            raise LayoutError(f"no {name} in {root}; it is downloaded beside the images and names those of {split}")
        for line in _lines(listed):
            image = root / "Images" / line
            if image.is_file():
                made.place(image, image.parent.name, split)
            else:
                made.leave_out(line, ("no_image", f"named in {name}, and there is no such image"))
    return made


def from_birds200(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Crop every image to its bird's box; splits and classes are the published ones. Raises LayoutError."""
    root = _root(source, "images.txt", f"Birds-200 is images/<class>/<image>.jpg with {', '.join(_BIRD_FILES)}")
    if missing := [name for name in _BIRD_FILES if not (root / name).is_file()]:
        raise LayoutError(f"no {missing[0]} in {root}; Birds-200 has {', '.join(_BIRD_FILES)}")
    paths, labels, train, boxes, classes = (_numbered(root / name) for name in _BIRD_FILES)
    found: list[Annotated] = []
    made = Conversion("classes", folder)
    for number, name in paths.items():
        image = root / "images" / name
        try:
            x, y, width, height = (float(side) for side in boxes[number].split())
            thing = Thing(label=classes[labels[number]], box=(x, y, x + width, y + height))
            split = TRAIN if train[number] == "1" else TEST
        except (KeyError, ValueError):
            made.leave_out(name, ("no_label", f"image {number} lacks a class, a split or a box"))
            continue
        if image.is_file():
            found.append(Annotated(image=image, split=split, things=(thing,)))
        else:
            made.leave_out(name, ("no_image", "named in images.txt, and there is no such image"))
    cropped = converted(found, (), folder, Choices(form="crops", max_pixels=choices.max_pixels))
    cropped.odd += made.odd
    return cropped


def from_h3d(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Crop every person, with the attributes as labels, laid out as Pascal VOC. Raises LayoutError."""
    root = _root(source, TRAIN, "the attributes are train/, val/ and test/ with images and labels.txt in each")
    made = Conversion("voc", folder)
    make_folders(folder)
    for split in (TRAIN, VAL, TEST):
        table = root / split / "labels.txt"
        if not table.is_file():
            continue
        names = [
            _person(made, table.parent, f"{split}-{at:05d}", line, choices) for at, line in enumerate(_lines(table))
        ]
        write_list(folder, split, filter(None, names))
    if not images(folder / IMAGES):
        raise LayoutError(f"no labels.txt with people in {root}/train, val or test")
    return made


def _person(made: Conversion, folder: Path, name: str, line: str, choices: Choices) -> str:
    """Write one person's crop and annotation; returns its name, "" where it is left out."""
    words = line.split()
    try:
        x, y, width, height = (float(side) for side in words[1:5])
        told = [int(word) for word in words[5:]]
    except ValueError:
        told = []
    if len(told) != len(ATTRIBUTES) or not {*told} <= {-1, 0, 1}:
        made.leave_out(f"{name} ({line[:60]})", ("no_label", "a name, a box and nine of 1, -1, 0 are expected"))
        return ""
    try:
        pixels = decode_file(folder / words[0], 3, max_pixels=choices.max_pixels)
    except BadImageError as error:
        made.leave_out(f"{name} ({words[0]})", (error.reason, str(error)))
        return ""
    left, top = max(0, round(x)), max(0, round(y))
    crop = pixels[top : max(0, round(y + height)), left : max(0, round(x + width))]
    if not crop.size:
        made.leave_out(f"{name} ({words[0]})", ("box", "a box of no area, or outside of the image"))
        return ""
    Image.fromarray(crop).save(made.folder / IMAGES / f"{name}.png", compress_level=1)
    height, width = crop.shape[:2]
    boxes = [
        Box(x0=0, y0=0, x1=width, y1=height, label=attribute, difficult=value == 0)
        for attribute, value in zip(ATTRIBUTES, told, strict=True)
        if value >= 0
    ]
    write_boxes(made.folder / ANNOTATIONS / f"{name}.xml", boxes)
    return name


def _root(source: Path, inside: str, expected: str) -> Path:
    """Return the source, or the only folder in it, that has `inside`."""
    candidates = [source, *sorted(path for path in source.iterdir() if path.is_dir())] if source.is_dir() else []
    for path in candidates:
        if (path / inside).exists():
            return path
    raise LayoutError(f"no {inside} in {source}: {expected}")


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"{path} cannot be read as UTF-8 ({error})") from None
    yield from (line.strip() for line in text.splitlines() if line.strip())


def _numbered(path: Path) -> dict[str, str]:
    """Return what stands behind the number at the beginning of each line, by that number."""
    return {number: rest.strip() for number, _, rest in (line.partition(" ") for line in _lines(path))}
