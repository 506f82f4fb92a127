"""How many of timm's best networks are accepted? `python -m benchmarks.annotate.best results-imagenet.csv`

The file of results is timm's own, from its folder results/. Networks are built without weights, and each is asked as
`annotate` asks it, on tensors that have a shape and nothing else: this shows which head answers, and in which grid. How
exact a head is needs weights; `python -m benchmarks.annotate.families` measures it for one network of each kind. With
`--kept FILE`, a run that was ended continues.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import cache
from pathlib import Path

import click
import timm
import torch
from tqdm import tqdm

from annotate.errors import AnnotateError
from annotate.model.dense import DenseClassifier
from demo.markdown import replace_between, table
from networks.locations import has_token_head

BEGIN, END = (
    "<!-- python -m benchmarks.annotate.best results-imagenet.csv --write docs/best.md -->",
    "<!-- end of best -->",
)


def asked(name: str) -> tuple[str, str]:
    """What answers for a network's locations, or "refused"; and its grid, or the reason.

    Raises:
        AnnotateError: this timm cannot build the network.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise AnnotateError(f"timm {timm.__version__} has no {name}")
    size = config.input_size if config.fixed_input_size else config.test_input_size or config.input_size
    return _asked(name.partition(".")[0], config.input_size[1:], size[1:])


@cache
def _asked(architecture: str, img_size: tuple[int, int], size: tuple[int, int]) -> tuple[str, str]:
    """The same of any weights of an architecture with this input.

    Args:
        architecture: timm's name without a tag.
        img_size: height and width that a network with fixed positions is built for, pixels.
        size: those of the input that it is asked with.
    """
    fixed = (timm.get_pretrained_cfg(architecture) or timm.models.PretrainedCfg()).fixed_input_size
    try:
        with torch.device("meta"), torch.inference_mode():
            model = timm.create_model(architecture, **({"img_size": img_size} if fixed else {}))
    except Exception as error:  # timm raises exceptions of many types
        raise AnnotateError(f"timm {timm.__version__} cannot build {architecture}: {error}") from error
    if has_token_head(model):
        return "token head", ""  # whether it has weights, which `annotate` asks first, shows only with weights
    try:
        with torch.device("meta"), torch.inference_mode():
            dense = DenseClassifier(model, architecture)
            shape = dense(torch.empty(1, 3, *size)).shape
    except AnnotateError as error:
        return "refused", str(error).partition(": ")[2]
    except Exception as error:  # what only the meta device lacks is told from a refusal
        return "not known", f"{type(error).__name__}: {error}"[:120]
    return dense.rule, f"{shape[1]}x{shape[2]}"


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--count", default=200, show_default=True, help="How many of the best.")
@click.option("--kept", type=click.Path(path_type=Path), help="File of answers: those in it are not asked for again.")
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Replace the table of this page.")
def main(results: Path, count: int, kept: Path | None, page: Path | None) -> None:
    """Print for the best networks by top-1 how each answers, and how many are accepted."""
    with results.open(newline="") as file:
        best = sorted(csv.DictReader(file), key=lambda row: -float(row["top1"]))[:count]
    known = {} if kept is None or not kept.exists() else dict(map(json.loads, kept.read_text().splitlines()))
    rows, kinds = [], Counter[str]()
    for row in tqdm(best, desc="asking", leave=False):
        name = row["model"]
        if name not in known:
            try:
                known[name] = asked(name)
            except AnnotateError as error:
                known[name] = "not in this timm", str(error)[:120]
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps([name, known[name]]) + "\n")
        kind, detail = known[name]
        kinds[kind] += 1
        rows.append([name, row["top1"], kind, detail])
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    found = f"Of the best {len(rows)}: {counted}.\n\n" + table(
        ["model", "top-1", "answers by", "grid, or why not"], rows
    )
    if page is None:
        print(found)
        return
    replace_between(page, BEGIN, END, f"\n\n{found}\n")


if __name__ == "__main__":
    main()
