"""How does a loader that cuts its own crops get labels? It reports its boxes and mirror flags. No torch."""

import numpy as np
from PIL import Image

from storage import open_store
from tokenlabel import from_boxes

store, rng = open_store("demo/out/labels-train.zarr"), np.random.default_rng(0)
student = np.zeros((8 * 8 * 3, 10))  # what pixels of a token say of each class, in place of a JAX model


def load(key):
    """In place of DALI, ffcv, grain or tf.data: the pixels of a crop, its box and whether it is mirrored."""
    picture = Image.open(f"demo/out/images/train/{key}")
    size = np.array([picture.height, picture.width])
    extent = rng.integers(size // 2, size + 1)
    start = rng.integers(size - extent + 1)
    (top, left), (bottom, right) = start, start + extent
    pixels = np.asarray(picture.crop((left, top, right, bottom)).resize((64, 64)))  # PIL has x before y
    mirrored = rng.random() < 0.5
    return pixels[:, ::-1] if mirrored else pixels, (*start / size, *(start + extent) / size), mirrored


for keys in np.array_split(rng.permutation(store.keys), len(store) // 40):
    pixels, boxes, mirrored = map(np.array, zip(*map(load, keys), strict=True))
    targets = from_boxes(store.read([store.find(key) for key in keys]), boxes, mirrored, tokens=(8, 8))
    named = targets.probabilities[..., None] * (targets.classes[..., None] == np.arange(10))
    y = named.sum(2)[:, 1:].reshape(-1, 10)  # a row for each token
    x = pixels.reshape(-1, 8, 8, 8, 8, 3).swapaxes(2, 3).reshape(len(y), -1) / 255
    likelihood = np.exp(x @ student) / np.exp(x @ student).sum(1, keepdims=True)
    student -= 0.1 * x.T @ (likelihood - y) / len(y)
print(f"loss {-(y * np.log(likelihood)).sum(1).mean():.3f}")
