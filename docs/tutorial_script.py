# %% [markdown]
# # A model in five lines
# A script in cells, for a notebook or for `python docs/tutorial_script.py`. It draws its own images, so that it runs
# anywhere; nothing outside the current folder is written.

# %% Images to learn from: one folder per class
import random
from pathlib import Path

from PIL import Image, ImageDraw


def draw(shape: str, size: int, chance: random.Random) -> Image.Image:
    """Draw one dark shape on a light ground, somewhere, turned somehow."""
    image = Image.new("L", (size, size), 235)
    low, high = size * 0.2, size * chance.uniform(0.6, 0.85)
    pen = ImageDraw.Draw(image)
    if shape == "disc":
        pen.ellipse((low, low, high, high), fill=40)
    elif shape == "ring":
        pen.ellipse((low, low, high, high), outline=40, width=max(2, size // 12))
    else:
        pen.rectangle((low, size * 0.45, high, size * 0.55), fill=40)
    return image.rotate(chance.uniform(0, 360), fillcolor=235)


chance = random.Random(5)
for shape in ("disc", "ring", "rod"):
    for number in range(40):
        target = Path("shells", shape, f"{number:02}.png")
        target.parent.mkdir(parents=True, exist_ok=True)
        draw(shape, chance.randint(32, 80), chance).save(target)
for number in range(6):
    Path("new-images").mkdir(exist_ok=True)
    draw(["disc", "ring", "rod"][number % 3], 64, chance).save(f"new-images/{number}.png")

# %% The five lines
import drillcore

images = drillcore.load_folder("shells")
model = drillcore.train(images, backbone="cnn1", training={"epochs": 6}, params={"n_estimators": 50})
print(model.evaluate())
model.export("shells.onnx")
table = drillcore.score("shells.onnx", "new-images/")

# %% What came out
print(images)
print(model)
print(table[["path", "label", "probability"]].to_string(index=False))

# %% The pictures of the evaluation: `model.pictures` lists PNG files
for picture in model.pictures:
    print(picture.name)

# %% The same file with onnxruntime alone
import json

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(3)  # else it remarks that `sizes` is an input with a default
session = ort.InferenceSession("shells.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["drillcore"])
pixels = np.asarray(Image.open("new-images/0.png").convert("L"))[None, :, :, None]
label, probabilities = session.run(["label", "probabilities"], {"images": pixels})
print(about["classes"][label[0]], probabilities[0].max())
