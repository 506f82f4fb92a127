"""Is damage found, named, and repaired?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from storage import open_store
from tests.annotate.commands.conftest import MODEL
from tests.conftest import contents


def test_verify_reports_damage_by_shard_and_exit_code(command, store: Path) -> None:
    assert command("verify", store).exit_code == 0
    (store / "shards/record/c/2").unlink()
    pending = command("verify", store, "--json")
    assert (pending.exit_code, json.loads(pending.stdout)["state"]) == (3, "pending")
    path = store / "scores/c/1/0/0/0"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    damaged = command("verify", store)
    assert damaged.exit_code == 4
    assert "rows 8 to 16 are damaged:" in damaged.stdout
    assert "4 shards: 2 ok, 1 damaged, 1 pending" in damaged.stdout
    answer = json.loads(command("verify", store, "--json").stdout)
    assert [shard["state"] for shard in answer["shards"]] == ["ok", "damaged", "pending", "ok"]


def test_verify_reports_damage_that_is_in_no_shard(command, store: Path) -> None:
    (store / "keys/c/0").write_bytes(b"nonsense")
    for words in ((), ("--json",)):
        result = command("verify", store, *words)
        assert result.exit_code == 4, result.output


@pytest.mark.parametrize("name", ["zarr.json", "classes/zarr.json", "keys/zarr.json", "shards/record/zarr.json"])
def test_no_flipped_bit_of_metadata_is_a_traceback_or_a_wrong_label(command, store: Path, name: str) -> None:
    path = store / name
    sound = path.read_bytes()
    good = open_store(store).read(range(30))
    for place in range(2, len(sound), 23):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 2]) + sound[place + 1 :])
        result = command("verify", store)
        assert result.exit_code in (0, 1, 4), (place, result.output)
        if result.exit_code == 0:
            assert (open_store(store).read(range(30)).classes == good.classes).all(), place
    path.write_bytes(sound)
    assert command("verify", store).exit_code == 0


def test_verify_finds_changed_targets_and_a_changed_schema(command, store: Path) -> None:
    schema = (store / "zarr.json").read_bytes()
    (store / "zarr.json").write_bytes(schema.replace(b'"bilinear"', b'"bicubic"'))
    result = command("verify", store)
    assert (result.exit_code, "the header of" in result.stdout) == (4, True), result.output
    (store / "zarr.json").write_bytes(schema)
    (store / "targets/c/0").unlink()
    result = command("verify", store)
    assert (result.exit_code, "the targets of" in result.stdout) == (4, True), result.output


def test_damage_is_repaired_as_verify_says(
    command, store: Path, finished: Path, scene_folder: Path, checkpoint: Path
) -> None:
    (store / "classes/c/1/0/0/0").write_bytes(b"nonsense")
    result = command("verify", store)
    assert f"`annotate verify {store} --repair` repairs what it can, and makes damaged shards pending" in result.stdout
    result = command("verify", store, "--repair")
    assert result.exit_code == 3, result.output
    assert f"Now run `annotate run IMAGES {store} --model test_resnet …` again" in result.stdout
    assert command("status", store, "--json").stdout.count('"shards_pending": 1') == 1
    again = command("run", scene_folder / "images/val", store, *MODEL, "--checkpoint", checkpoint)
    assert again.exit_code == 0, again.output
    assert command("verify", store).exit_code == 0
    shutil.rmtree(store / "shards/set_aside")
    assert contents(store) == contents(finished)


def test_what_cannot_be_read_has_its_own_exit_code_and_is_not_repaired(command, store: Path) -> None:
    path, damaged = store / "classes/c/1/0/0/0", store / "classes/c/2/0/0/0"
    path.unlink()
    path.symlink_to(path)  # to itself: the system does not open it
    damaged.write_bytes(b"nonsense")
    before = contents(store)
    for words in ((), ("--repair",)):
        result = command("verify", store, *words)
        assert result.exit_code == 5, result.output
        assert "rows 8 to 16 are unreadable:" in result.stdout
        assert "4 shards: 2 ok, 1 unreadable, 1 damaged, 0 pending" in result.stdout
        assert "What cannot be read may be undamaged: make it readable, then verify again" in result.stdout
        assert ("nothing was repaired" in result.stdout) == bool(words)
        assert "--repair` mends" not in result.stdout
    answer = json.loads(command("verify", store, "--json").stdout)
    assert (answer["state"], answer["unreadable"]) == ("unreadable", [])
    assert [shard["state"] for shard in answer["shards"]] == ["ok", "unreadable", "damaged", "ok"]
    assert contents(store) == before
    (store / "zarr.json").unlink()
    (store / "zarr.json").symlink_to("zarr.json")
    assert command("verify", store).exit_code == 5


def test_a_dry_run_says_what_a_repair_would_do_and_changes_nothing(command, store: Path) -> None:
    (store / "classes/c/1/0/0/0").write_bytes(b"nonsense")
    (store / "key_index/slots/c/0").unlink()
    before = contents(store)
    result = command("verify", store, "--repair", "--dry-run")
    assert result.exit_code == 4, result.output
    assert "would do: rows 8 to 16 become pending; what they hold now is moved to shards/set_aside" in result.stdout
    assert "would do: metadata and key index are rewritten from the header and the keys" in result.stdout
    steps = json.loads(command("verify", store, "--repair", "--dry-run", "--json").stdout)["would_do"]
    assert len(steps) == 3
    assert contents(store) == before
    assert command("verify", store, "--repair").exit_code == 3
    assert (store / "shards/set_aside/1/classes/c/1/0/0/0").read_bytes() == b"nonsense"
    assert command("verify", store, "--dry-run").exit_code == 2
