"""How much time and memory does inspecting labels take? `python -m benchmarks.annotate.inspecting [--rows N]`"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from PIL import Image

from annotate.images import FolderImages
from benchmarks.reference import CLASS_COUNT, Maps
from benchmarks.storage.copies import fill
from demo import scenes
from demo.markdown import section
from storage import Schema, create_store

ROWS = 1_281_167
_PICTURES = 500
_PROGRAM = """
import sys
from benchmarks.memory import peak
from cli import main
main(sys.argv[1:], standalone_mode=False)
print(peak())
"""


def _command(*words: object) -> tuple[float, float]:
    """Seconds and peak memory, MB, of `annotate inspect`, including its start."""
    started = time.perf_counter()
    command = [sys.executable, "-c", _PROGRAM, "inspect", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, float(result.stdout.splitlines()[-1])


@click.command()
@click.option("--rows", default=ROWS, show_default=True, help="Of the large store.")
def main(rows: int) -> None:
    """Measure, and print the table."""
    maps = Maps.load()
    with tempfile.TemporaryDirectory(prefix="tokenlabel-benchmark-") as folder:
        root = Path(folder)
        scenes.write(root, splits={"train": _PICTURES})
        source = FolderImages(root / "images/train")
        schema = Schema(grid=(18, 18), k=5, class_count=CLASS_COUNT, rows_per_shard=_PICTURES)
        small = create_store(root / "small.zarr", schema, source.keys)
        labels = maps.labels(_PICTURES)
        labels.sizes[:] = [_size(source.reader.read(key)) for key in source.keys]
        small.write(range(_PICTURES), labels)
        schema = Schema(grid=(18, 18), k=5, class_count=CLASS_COUNT, rows_per_shard=1024)
        large = create_store(root / "large.zarr", schema, [f"{row:08}.jpg" for row in range(rows)])
        fill(large, maps.labels(1024))
        shown = root / "small.zarr", "--images", root / "images/train"
        found = [
            ("a sheet of 64 pictures", *_command(*shown, "-o", root / "sheet.png", "--count", 64)),
            (f"a report of {_PICTURES} pictures", *_command(*shown, "--html", root / "report.html")),
            (f"the figures of {rows:,} rows", *_command(root / "large.zarr")),
        ]
        written = (root / "report.html").stat().st_size
    print(
        section(
            "Inspecting labels",
            ["", "seconds", "peak MB"],
            [[name, f"{seconds:,.1f}", f"{memory:,.0f}"] for name, seconds, memory in found],
            f"Labels of 18x18 locations, the 5 best of 1,000 classes; each row is the whole command, with its start. "
            f"The report is a file of {written / 1e6:.1f} MB. Peak MB is the largest resident memory.",
        )
    )


def _size(data: object) -> tuple[int, int]:
    with Image.open(io.BytesIO(bytes(data))) as picture:  # type: ignore[call-overload]
        return picture.height, picture.width


if __name__ == "__main__":
    main()
