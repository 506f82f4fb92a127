"""Does KoLeo spread descriptors out, and do they find more then? On digits that were not trained on.

`python -m benchmarks.tokenlabel.retrieval`

A small LV-ViT learns the contrastive loss on five of the ten digits, each in four turns, and searches among the others.
Seeds draw the digits, the first weights, the batches and the pictures; runs of one seed share all of them, so
that differences are paired. Finished runs are lines of docs/retrieval.jsonl, and are not repeated; the table in
docs/retrieval.md is written from them.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm import tqdm

from benchmarks.tokenlabel.turned_digits import SIZE, TURNS, pictures
from demo.markdown import replace_between, table
from demo.study_report import Difference
from tokenlabel.models import LVViT
from tokenlabel.retrieval import (
    Descriptor,
    contrastive_loss,
    koleo_loss,
    mean_log_distance,
    positive_pairs,
    retrieval_scores,
)

DOCS = Path(__file__).parents[2] / "docs"
LINES, PAGE = DOCS / "retrieval.jsonl", DOCS / "retrieval.md"
BEGIN, END = "<!-- figures: python -m benchmarks.tokenlabel.retrieval -->", "<!-- end of figures -->"
WEIGHTS, SEEDS, STEPS = (0.0, 0.3, 0.7, 1.0), 5, 400
DIGITS = 5  # to train on; as many others to search among
CLASSES = DIGITS * TURNS
SEARCHED = 50  # pictures of each class
DRAWN, EACH = 10, 8  # classes of a batch, and pictures of each
RATE, WARMUP = 3e-3, 50
VALUES = ("recall", "map_at_r", "log_distance", "log_distance_trained")
Line = dict[str, Any]


def measure(weight: float | None, seed: int, steps: int = STEPS) -> Line:
    """Train one network, and search with it.

    Args:
        weight: λ of KoLeo; None for the network before its training.
        seed: of all that is drawn.
        steps: batches.
    """
    (seen, found), classes, trained, generator = searched(seed)
    torch.manual_seed(seed)
    network = LVViT(
        0, img_size=SIZE, in_chans=1, patch_size=4, embed_dim=64, depth=3, num_heads=4, stem_dim=16, stem_strides=(1, 1)
    )
    describe = Descriptor(network)
    if weight is not None:
        _train(describe, trained, weight, steps, generator)
    with torch.no_grad():
        z, z_trained = describe.eval()(found), describe(seen)
    scores = retrieval_scores(z, classes, ks=(1,))
    values = (scores.recall[1], scores.map_at_r, mean_log_distance(z), mean_log_distance(z_trained))
    rounded = {name: round(value, 6) for name, value in zip(VALUES, values, strict=True)}
    return {"koleo": weight, "seed": seed, "steps": steps} | rounded


def searched(seed: int) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, list[int], torch.Generator]:
    """Pictures of trained and of unseen digits, the classes of either, the trained digits, and what draws the rest."""
    digits = np.random.default_rng(seed).permutation(10).tolist()
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(CLASSES).repeat_interleave(SEARCHED)
    trained, unseen = digits[:DIGITS], digits[DIGITS:]
    seen, found = (pictures(classes, some, generator) for some in (trained, unseen))
    return (seen, found), classes, trained, generator


def _train(describe: Descriptor, digits: list[int], weight: float, steps: int, generator: torch.Generator) -> None:
    """The paper's loss without a memory, and AdamW whose rate rises, then falls by a cosine. No picture comes twice."""
    optimizer = torch.optim.AdamW(describe.parameters(), RATE, weight_decay=5e-4)
    describe.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
        who = torch.randperm(CLASSES, generator=generator)[:DRAWN].repeat_interleave(EACH)
        z = describe(pictures(who, digits, generator))
        loss = contrastive_loss(z, z, positive_pairs(who, who)) + weight * koleo_loss(z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def pixels_alone(seeds: int) -> Line:
    """The same search by the pixels themselves, without a network: means over the seeds."""
    found = []
    for seed in range(seeds):
        (_, pixels), classes, *_ = searched(seed)
        found.append(retrieval_scores(normalize(pixels.flatten(1), dim=1), classes, ks=(1,)))
    return {"recall": mean(each.recall[1] for each in found), "map_at_r": mean(each.map_at_r for each in found)}


def read(lines: Path) -> list[Line]:
    """The runs that are finished."""
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def run(lines: Path, seeds: int, steps: int = STEPS) -> list[Line]:
    """All runs; those that are finished already are not repeated."""
    asked: Iterator[tuple[float | None, int]] = ((weight, seed) for seed in range(seeds) for weight in (None, *WEIGHTS))
    done = {(line["koleo"], line["seed"], line["steps"]) for line in read(lines)}
    for weight, seed in tqdm([each for each in asked if (*each, steps) not in done], unit=" runs"):
        with lines.open("a") as file:
            file.write(json.dumps(measure(weight, seed, steps)) + "\n")
    return [line for line in read(lines) if line["steps"] == steps and line["seed"] < seeds]


def describe_runs(found: Sequence[Line]) -> str:
    """The table: means over the seeds, and paired differences.

    Those with KoLeo are compared with the contrastive loss alone, and that with the network before its training.
    """

    def of(weight: float | None, name: str) -> list[float]:
        return [line[name] for line in sorted(found, key=lambda line: line["seed"]) if line["koleo"] == weight]

    def cell(weight: float | None, name: str) -> str:
        unit, digits = (100, 1) if name in ("recall", "map_at_r") else (1, 2)
        shown = f"{unit * mean(of(weight, name)):.{digits}f}"
        if weight is None:
            return shown
        difference = Difference.of(of(weight, name), of(0.0 if weight else None, name))
        text = f"{unit * difference.mean:+.{digits}f} ± {unit * difference.half_width:.{digits}f}"
        return f"{shown} (**{text}**)" if difference.is_sure else f"{shown} ({text})"

    rows = []
    for weight in (None, *WEIGHTS):
        title = "not trained" if weight is None else f"contrastive + {weight:g} KoLeo" if weight else "contrastive"
        rows.append([title, *(cell(weight, name) for name in VALUES)])
    pixels = pixels_alone(len(of(None, "recall")))
    rows.insert(0, ["pixels, no network", *(f"{100 * pixels[name]:.1f}" for name in ("recall", "map_at_r")), "", ""])
    head = ["", "Recall@1, %", "mAP@R, %", "mean log distance, unseen digits", "trained digits"]
    return table(head, rows)


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each kind (default: %(default)s)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: one run of each kind shows no spread")
    torch.set_num_threads(1)  # more threads only wait for one another in networks as small as this
    replace_between(PAGE, BEGIN, END, f"\n\n{describe_runs(run(LINES, options.seeds))}\n")


if __name__ == "__main__":
    main()
