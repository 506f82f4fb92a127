"""Who labels the pictures? A small timm network that was trained on single digits.

It is trained on 32-pixel crops that hold one digit, or none; without a digit the target is uniform. It never sees
a scene, as an ImageNet network never sees the pictures of another collection.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, interpolate
from tqdm import tqdm

from demo import scenes

MODEL, MODEL_KWARGS = "test_resnet", {"output_stride": 8, "num_classes": len(scenes.CLASS_NAMES)}
CROP, CANVAS = 32, 64  # pixels
SMALLEST, LARGEST = 14, 42  # pixels, sides of digits
STEPS, BATCH = 600, 128


def crops(rng: np.random.Generator, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """New training crops: uint8 [count, CROP, CROP, 3] and target float32 [count, classes], each row summing to 1.

    Height and width of a digit are random and independent, so that digits are stretched at least as much as squashing a
    4:3 picture to a square stretches them.
    """
    classes = len(scenes.CLASS_NAMES)
    pixels = np.empty((count, CROP, CROP, 3), np.uint8)
    target = np.full((count, classes), 1 / classes, np.float32)
    inks, digits = scenes.scans(split)
    for index in range(count):
        canvas = scenes.background(rng, CANVAS, CANVAS)
        window = [CANVAS // 2 - CROP // 2] * 2
        if rng.random() < 0.8:
            stretch = (4 / 3) ** rng.uniform(-0.5, 0.5)
            sides = [
                round(SMALLEST * (LARGEST / SMALLEST) ** rng.random() * factor) for factor in (stretch, 1 / stretch)
            ]
            start = [(CANVAS - side) // 2 for side in sides]
            # A digit that fits is anywhere in the window; of a larger one, the window shows any part.
            window = [
                int(at + rng.integers(min(0, side - CROP), max(0, side - CROP) + 1))
                for at, side in zip(start, sides, strict=True)
            ]
            scan = rng.integers(len(digits))
            scenes.draw(canvas, inks[scan], *(slice(at, at + side) for at, side in zip(start, sides, strict=True)))
            target[index] = np.eye(classes, dtype=np.float32)[digits[scan]]
        pixels[index] = canvas[window[0] : window[0] + CROP, window[1] : window[1] + CROP].round()
    return pixels, target


def train(path: Path, seed: int = 0, steps: int = STEPS, scale: float = 1.0) -> float:
    """Train the annotator, save it as safetensors with its class names; return its accuracy on val scans, in [0, 1].

    Args:
        path: the file to write.
        seed: decides the first weights and the crops.
        steps: number of optimizer steps.
        scale: factor by which crops are enlarged, for an annotator of larger pictures.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = timm.create_model(MODEL, **MODEL_KWARGS).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))

    def prepared(pixels: np.ndarray) -> torch.Tensor:
        plain = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        return plain if scale == 1 else interpolate(plain, scale_factor=scale, mode="bilinear")

    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in tqdm(range(steps), desc="annotator", unit=" steps", disable=None):
        pixels, target = crops(rng, "train", BATCH)
        loss = cross_entropy(model(prepared(pixels)), torch.from_numpy(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    pixels, target = crops(np.random.default_rng(seed + 1), "val", 2000)
    shown = target.max(1) == 1
    with torch.inference_mode():
        answers = model(prepared(pixels[shown])).argmax(1).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata={"class_names": json.dumps(scenes.CLASS_NAMES)})
    return float((answers == target[shown].argmax(1)).mean())
