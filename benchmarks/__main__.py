"""Which benchmarks run? `python -m benchmarks [NAME …] [--json FILE]`; all if none is named."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import click

from benchmarks.annotate import labelling
from benchmarks.storage import keys, reads, size
from benchmarks.tokenlabel import pipelines, training

BENCHMARKS = {
    "size": size.measure,
    "reads": reads.measure,
    "keys": keys.measure,
    "training": training.measure,
    "pipelines": pipelines.measure,
    "labelling": labelling.measure,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS]))
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the figures to this file."
)
def main(names: tuple[str, ...], file: Path | None) -> None:
    """Compare stores, training and labelling with the alternatives; runs all benchmarks if none is named."""
    started, figures = time.monotonic(), {}
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="tokenlabel-benchmark-") as folder:
            found = BENCHMARKS[name](Path(folder))
        print(found.describe(), flush=True)
        figures[name] = found.to_json()
    print(f"{time.monotonic() - started:.0f} s")
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
