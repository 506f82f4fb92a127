"""Does KoLeo spread descriptors out, and do they find more then? On scanned digits of classes that were not trained on.

`python -m benchmarks.tokenlabel.retrieval`

A small vision transformer learns the contrastive loss with a memory on five of the ten classes of scikit-learn's
digits, and searches among the other five. Seeds draw the classes, the first weights and the batches; runs of one seed
share all of them, so that differences are paired. Finished runs are lines of docs/retrieval.jsonl, and are not
repeated; the table in docs/retrieval.md is written from them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from timm.models.vision_transformer import VisionTransformer
from torch.nn.functional import normalize
from tqdm import tqdm

from demo.markdown import table
from demo.study_report import Difference
from tokenlabel.retrieval import (
    ClassBatches,
    CrossBatchMemory,
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
TRAINED, EACH = 5, 10  # classes, and pictures of each in a batch
# Steps before there is a memory: the descriptors of a new network are nearly equal, and old ones would drive all alike.
ALONE = 100
Line = dict[str, Any]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 scans: float32 [n, 1, 8, 8] in [-1, 1], and their classes."""
    found = load_digits()
    return torch.from_numpy(found.images).float()[:, None] / 8 - 1, torch.from_numpy(found.target)


def measure(weight: float | None, seed: int, steps: int = STEPS) -> Line:
    """Train one network, and search with it.

    Args:
        weight: λ of KoLeo; None for the network before its training.
        seed: of all that is drawn.
        steps: batches.
    """
    pixels, classes = digits()
    trained = np.random.default_rng(seed).permutation(10)[:TRAINED]
    ours = torch.from_numpy(np.isin(classes.numpy(), trained))
    torch.manual_seed(seed)
    network = VisionTransformer(8, 2, 1, 0, embed_dim=48, depth=3, num_heads=4)
    describe = Descriptor(network)
    if weight is not None:
        _train(describe, pixels[ours], classes[ours], weight, seed, steps)
    with torch.no_grad():
        found, seen = describe.eval()(pixels[~ours]), describe(pixels[ours])
    scores = retrieval_scores(found, classes[~ours], ks=(1,))
    values = {"recall": scores.recall[1], "map_at_r": scores.map_at_r, "log_distance": mean_log_distance(found)}
    values["log_distance_trained"] = mean_log_distance(seen)
    return {"koleo": weight, "seed": seed, "steps": steps} | {name: round(value, 6) for name, value in values.items()}


def _train(
    describe: Descriptor, pixels: torch.Tensor, classes: torch.Tensor, weight: float, seed: int, steps: int
) -> None:
    """The paper's loss with a memory as large as the pictures; AdamW at a constant rate."""
    memory = CrossBatchMemory(len(pixels), describe.width)
    optimizer = torch.optim.AdamW(describe.parameters(), 1e-3, weight_decay=5e-4)
    batches = ClassBatches(classes.tolist(), classes=TRAINED, each=EACH, steps=steps, seed=seed)
    for step, batch in enumerate(batches):
        indices = torch.tensor(batch)
        z, who = describe(pixels[indices]), classes[indices]
        others, theirs, shown = (torch.cat(pair) for pair in zip((z, who, indices), memory.contents(), strict=True))
        same = indices[:, None] == shown
        loss = contrastive_loss(z, others, positive_pairs(who, theirs), same=same) + weight * koleo_loss(z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= ALONE:
            memory.add(z, who, indices)


def pixels_alone() -> Line:
    """The same search by the pixels themselves, without a network, over the classes of all seeds."""
    pixels, classes = digits()
    found = []
    for seed in range(SEEDS):
        held = ~np.isin(classes.numpy(), np.random.default_rng(seed).permutation(10)[:TRAINED])
        found.append(retrieval_scores(normalize(pixels[held].flatten(1), dim=1), classes[held], ks=(1,)))
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
    """The table: means over the seeds, and paired differences from the contrastive loss alone."""

    def of(weight: float | None, name: str) -> list[float]:
        return [line[name] for line in sorted(found, key=lambda line: line["seed"]) if line["koleo"] == weight]

    rows = []
    for weight in (None, *WEIGHTS):
        cells = [f"{100 * mean(of(weight, name)):.1f}" for name in ("recall", "map_at_r")]
        if weight:
            cells = [
                f"{cell} ({Difference.of(of(weight, name), of(0.0, name))})"
                for cell, name in zip(cells, ("recall", "map_at_r"), strict=True)
            ]
        spread = [f"{mean(of(weight, name)):.2f}" for name in ("log_distance", "log_distance_trained")]
        title = "not trained" if weight is None else f"contrastive + {weight:g} KoLeo" if weight else "contrastive"
        rows.append([title, *cells, *spread])
    pixels = pixels_alone()
    rows.insert(0, ["pixels, no network", *(f"{100 * pixels[name]:.1f}" for name in ("recall", "map_at_r")), "", ""])
    head = ["", "Recall@1, %", "mAP@R, %", "mean log distance, unseen classes", "trained classes"]
    return table(head, rows)


def write(page: Path, text: str) -> None:
    """Put the table between its two marks on a page.

    Raises:
        ValueError: the page lacks the marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the marks of its table; add {BEGIN} and after it {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each kind (default: %(default)s)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: one run of each kind shows no spread")
    torch.set_num_threads(1)  # more threads only wait for one another in networks as small as this
    write(PAGE, describe_runs(run(LINES, options.seeds)))


if __name__ == "__main__":
    main()
