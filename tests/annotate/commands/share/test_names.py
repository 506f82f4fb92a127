"""Are classes named, named again and listed, without labelling again?"""

from __future__ import annotations

import json
from pathlib import Path

from storage import open_store


def test_names_are_given_changed_listed_and_removed(command, store: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    file = tmp_path / "names.txt"
    file.write_text("\n".join(f"thing {n}" for n in range(10)))
    result = command("names", store, file)
    assert (result.exit_code, result.stdout) == (0, f"the 10 classes of {store} have names now\n")
    assert command("names", store).stdout == file.read_text() + "\n"
    assert open_store(store).schema.class_names == tuple(file.read_text().splitlines())
    assert command("verify", store, "--deep").exit_code == 0
    assert {path for path, data in before.items() if path.read_bytes() != data} == {store / "zarr.json"}
    answer = json.loads(command("names", store, "--remove", "--json").stdout)
    assert answer == {"store": str(store), "class_count": 10, "class_names": None}
    result = command("names", store)
    assert result.exit_code == 1
    assert "have no names; `annotate names" in result.stderr


def test_names_that_do_not_fit_change_nothing(command, store: Path, tmp_path: Path) -> None:
    before = (store / "zarr.json").read_bytes()
    (tmp_path / "few.txt").write_text("one\n")
    for words, code, message in (
        ([tmp_path / "few.txt"], 1, "it has 1 lines, but there are 10 classes"),
        (["imagenet-1k"], 1, "it has 1,000 names, but there are 10 classes"),
        ([tmp_path / "none.txt"], 1, "cannot read the class names"),
        ([tmp_path / "few.txt", "--remove"], 2, "give NAMES or --remove, not both"),
    ):
        result = command("names", store, *words)
        assert (result.exit_code, message in result.stderr) == (code, True), result.output
    assert (store / "zarr.json").read_bytes() == before


def test_a_run_on_a_store_with_other_names_finds_nothing_to_do(
    command, store: Path, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    from tests.annotate.commands.conftest import MODEL

    (tmp_path / "names.txt").write_text("\n".join(f"thing {n}" for n in range(10)))
    assert command("names", store, tmp_path / "names.txt").exit_code == 0
    result = command("run", scene_folder / "images/val", store, *MODEL, "--checkpoint", checkpoint)
    assert result.exit_code == 0, result.output
    assert open_store(store).schema.class_names[3] == "thing 3"
