"""What does a student gain from token labels? Equal students, taught in different ways.

    class labels             cross-entropy with the picture's class
    class and token labels   the same, and the annotator's label for every token: the paper's loss
    annotator's labels       the annotator's label for the picture and for every token; no class label at all

`python -m demo.students demo/out --seeds 0 1 2` trains all of them for each seed, and prints differences and spread.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from tokenlabel import Crops, LabeledImages, View, collate, folder_keys, random_view, token_label_loss, whole_view
from tokenlabel.models import LVViT

Draw = Callable[[np.random.Generator, tuple[int, int]], View]
TEACHINGS = ("class labels", "class and token labels", "annotator's labels")
SIZE, TOKENS, CLASSES = (64, 64), (8, 8), 10
EPOCHS, BATCH, LEARNING_RATE = 8, 64, 1e-3  # at 3e-3 some seeds of the class-label student learn nothing


def student() -> LVViT:
    """A tiny LV-ViT: 8x8 tokens, width 96, depth 4."""
    return LVViT(
        CLASSES,
        img_size=SIZE,
        patch_size=8,
        embed_dim=96,
        depth=4,
        num_heads=4,
        stem_dim=16,
        residual_divisor=1.0,
    ).to(memory_format=torch.channels_last)


def pictures(out: Path, split: str, draw: Draw, *, seed: int = 0) -> LabeledImages:
    """The pictures of a split, joined to its labels."""
    images = ImageFolder(out / "images" / split)
    store = out / f"labels-{split}.zarr"
    crops = Crops(SIZE, draw)
    return LabeledImages(
        images, store, keys=folder_keys(images), augment=crops, tokens=TOKENS, class_count=CLASSES, seed=seed
    )


def train(out: Path, teaching: str, seed: int, epochs: int = EPOCHS) -> float:
    """Train one student on one CPU thread; return its accuracy on val, by its class token's head, in [0, 1].

    All teachings see the same pictures, crops, order, start and number of steps.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = student()
    # Digits are not mirrored: a mirrored digit is no digit.
    data = pictures(out, "train", partial(random_view, scale=(0.5, 1.0), mirror=0.0), seed=seed)
    loader = DataLoader(
        data, BATCH, shuffle=True, drop_last=True, collate_fn=collate, generator=torch.Generator().manual_seed(seed)
    )
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2)
    name, line = f"{teaching}, seed {seed}", TEACHINGS.index(teaching) % 2
    with tqdm(total=steps, desc=name, unit=" steps", position=line, disable=None) as bar:
        for epoch in range(epochs):
            data.set_epoch(epoch)
            for pixels, targets, label in loader:
                picture, tokens = model(pixels)
                if teaching == "class labels":
                    loss = cross_entropy(picture, label)
                else:
                    named = label if teaching == "class and token labels" else None
                    loss = token_label_loss(picture, tokens, targets, label=named)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.update()
    return accuracy(model, pictures(out, "val", whole_view))


@torch.inference_mode()
def accuracy(model: LVViT, data: LabeledImages) -> float:
    """The part of pictures whose class the model's class head names."""
    model.eval()
    right = sum(
        int((model.logits(pixels)[0].argmax(1) == label).sum())
        for pixels, _, label in DataLoader(data, 250, collate_fn=collate)
    )
    return right / len(data)


def train_all(
    out: Path, seeds: Sequence[int], teachings: Sequence[str] = TEACHINGS, epochs: int = EPOCHS
) -> dict[str, list[float]]:
    """A student of each teaching for each seed, two at a time: accuracies by teaching, in the order of the seeds."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = [(name, pool.submit(train, out, name, seed, epochs)) for seed in seeds for name in teachings]
        return {name: [run.result() for teaching, run in running if teaching == name] for name in teachings}


def main() -> None:
    """Train, print a table, and keep it as OUT/students.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder that `python -m demo` filled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    accuracies = train_all(options.out, options.seeds)
    (options.out / "students.json").write_text(json.dumps({"seeds": options.seeds, **accuracies}, indent=2) + "\n")
    print(table(options.seeds, accuracies))


def table(seeds: Sequence[int], accuracies: dict[str, list[float]]) -> str:
    """Accuracies by seed, each teaching's difference from the first, and for more seeds mean and standard deviation."""
    plain, *others = accuracies
    rows = dict(accuracies)
    for name in others:
        pairs = zip(accuracies[plain], accuracies[name], strict=True)
        rows[f"{name}, difference"] = [value - first for first, value in pairs]
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  seed {seed}" for seed in seeds) + ("     mean ± sd" if len(seeds) > 1 else "")]
    for name, values in rows.items():
        sign = "+" if name not in accuracies else ""
        line = f"{name:{width}}" + "".join(f"  {value:{sign}6.3f}" for value in values)
        if len(seeds) > 1:
            line += f"  {statistics.mean(values):{sign}6.3f} ± {statistics.stdev(values):.3f}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
