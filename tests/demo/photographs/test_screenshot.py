"""Does the command that docs/demo.md names make the picture of the report that the page shows?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.images import FolderReader
from annotate.inspect import choose_rows, report_page, survey
from demo.photographs.collection import PICTURES
from demo.photographs.screenshot import SHOWN, SIZE
from storage import Schema, create_store
from tests.annotate.inspect.browser import CHROMIUM, DRIVER
from tests.labels import random_labels

ROOT = Path(__file__).parents[3]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    (module,) = re.findall(r"`python -m (demo\.\S+)` .*report\.png", (ROOT / "docs/demo.md").read_text())
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def report(folder: Path, keys: list[str]) -> Path:
    labels = random_labels(np.random.default_rng(0), len(keys), grid=(6, 5), k=3, class_count=8)
    labels.boxes[:], labels.sizes[:] = [0, 0, 1, 1], [360, 640]
    schema = Schema(grid=(6, 5), k=3, class_count=8, class_names=tuple("abcdefgh"), rows_per_shard=len(keys))
    store = create_store(folder / "labels.zarr", schema, keys)
    store.write(range(len(keys)), labels)
    path = folder / "report.html"
    path.write_text(report_page(store, survey(store), choose_rows(store, 9), FolderReader(PICTURES).read))
    return path


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver")
def test_a_browser_makes_a_picture_of_one_photograph_with_the_targets_of_a_crop(tmp_path: Path) -> None:
    made = tmp_path / "shot.png"
    found = command(report(tmp_path, ["bee.jpg", SHOWN]), made)
    assert (found.returncode, found.stderr) == (0, "")
    with Image.open(made) as shot, Image.open(ROOT / "docs/report.png") as page:
        assert shot.size == page.size == SIZE
        photograph = np.asarray(shot.convert("RGB"))[200:550, 40:690]  # as it lies on the page
    assert photograph.std() > 20
    with Image.open(PICTURES / SHOWN) as original:
        corner = np.asarray(original.convert("L"), float)[:60, :60].mean()  # outside the crop
    assert abs(photograph[:60, :60].mean() - corner) < 40


def test_what_is_no_report_of_the_photographs_is_refused(tmp_path: Path) -> None:
    found = command(tmp_path / "none.html", tmp_path / "shot.png")
    assert f"there is no report at {tmp_path / 'none.html'}: `make demo` writes it" in found.stderr
    if CHROMIUM and DRIVER:
        found = command(report(tmp_path, ["bee.jpg"]), tmp_path / "shot.png")
        assert f"does not show {SHOWN}" in found.stderr
    assert not (tmp_path / "shot.png").exists()
