"""Are the pictures listed whose class is probably wrong?"""

from __future__ import annotations

import json
from pathlib import Path

from storage import name_classes, open_store


def test_stores_are_audited(command, store: Path) -> None:
    audit = json.loads(command("audit", store, "--part", 0.2, "--json").stdout)
    assert (audit["pictures"], len(audit["suspects"])) == (30, 6)
    assert "of 30 pictures, the 1 whose label" in command("audit", store).stdout


def test_names_that_are_given_find_the_pictures_own_classes(command, store: Path, tmp_path: Path) -> None:
    names = open_store(store).schema.class_names
    name_classes(open_store(store, writable=True), None)
    result = command("audit", store)
    assert result.exit_code == 1
    assert "have names, and the annotator's have none; give these with --names" in result.stderr
    (tmp_path / "names.txt").write_text("\n".join(names))
    audit = json.loads(command("audit", store, "--names", tmp_path / "names.txt", "--json").stdout)
    assert audit["pictures"] == 30
