"""Does `annotate merge` undo `annotate select`?"""

from __future__ import annotations

import json
from pathlib import Path

from storage import open_store


def test_a_store_is_divided_by_keys_and_merged_again(command, store: Path, tmp_path: Path) -> None:
    keys = list(open_store(store).keys)
    for name, some in (("a", keys[::2]), ("b", keys[1::2])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{key}\n" for key in some))
        result = command("select", store, tmp_path / f"{name}.h5", "--keys", tmp_path / f"{name}.txt")
        assert (result.exit_code, "wrote 15 of 15 pictures" in result.stdout) == (0, True), result.output
    words = ["merge", tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "all.zarr"]
    result = command(*words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"pictures": 30, "gathered_now": 30, "pending": 0}
    for name in ("classes/c/0/0/0/0", "scores/c/3/0/0/0", "status/c/0"):
        assert (tmp_path / "all.zarr" / name).read_bytes() == (store / name).read_bytes()
    assert command("verify", tmp_path / "all.zarr", "--deep").exit_code == 0


def test_one_part_and_a_missing_list_are_wrong_usage(command, store: Path, tmp_path: Path) -> None:
    result = command("merge", store, tmp_path / "all.zarr")
    assert (result.exit_code, "two or more stores" in result.stderr) == (2, True)
    result = command("select", store, tmp_path / "some.zarr", "--keys", tmp_path / "none.txt")
    assert (result.exit_code, "cannot read the keys" in result.stderr) == (2, True)
