"""Is a network of the Hub asked for, named and checked by its revision, and by all files of its weights?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from annotate.errors import AnnotateError
from annotate.model.elsewhere.hf_folder import HubFolder
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.tiny_networks import saved

transformers = pytest.importorskip("transformers")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The repositories and revisions that were asked of the Hub, whose place a folder takes."""
    seen: list[tuple[str, str | None]] = []
    folder = saved(tmp_path / "snapshots" / COMMIT, "vit")

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert "*.bin" not in allow_patterns
        seen.append((repository, revision))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return seen


@pytest.mark.parametrize(("model", "revision"), [("hf:them/vit", None), ("hf:them/vit@v1", "v1")])
def test_the_revision_is_asked_of_the_hub_and_stays_in_the_recipe(
    model: str, revision: str | None, asked: list[tuple[str, str | None]]
) -> None:
    recipe = Recipe.for_model(model)
    assert asked == [("them/vit", revision)]
    assert recipe.to_json()["networks"][0]["model"] == model
    again: Any = Recipe.from_json(recipe.to_json()).networks[0]  # as a worker elsewhere has it
    about = again.provenance(again.build())
    assert about["hub"] == {"repository": model.removeprefix("hf:"), "commit": COMMIT, "hash": again.weights}
    assert {*asked} == {("them/vit", revision)}


def test_other_weights_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    network = Recipe.for_model(f"hf:{folder}").networks[0]
    weights = folder / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(AnnotateError, match="has changed since the job began: expected weights sha256:.* found sha256"):
        network.build()


def test_each_of_several_files_of_weights_counts_and_one_that_lacks_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    made = transformers.AutoModelForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    made.save_pretrained(folder, max_shard_size="8KB")
    files = HubFolder.of(f"hf:{folder}")
    assert len(files.weights()) > 2
    Recipe.for_model(f"hf:{folder}").networks[0].build()
    found = {files.weights_hash()}
    for file in files.weights():
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        found.add(files.weights_hash())
        file.write_bytes(before)
    assert len(found) == 1 + len(files.weights())
    lost = files.weights()[1]
    lost.unlink()
    with pytest.raises(AnnotateError, match=f"hf:vit lacks files of its weights: {lost.name}; get them again"):
        files.weights()


def test_names_are_taken_by_their_numbers_in_whatever_order_they_are_written(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"2": "tree", "0": "cat", "1": "dog"}
    (folder / "config.json").write_text(json.dumps(config))
    assert Recipe.for_model(f"hf:{folder}").class_names() == ("cat", "dog", "tree")


@pytest.mark.parametrize("name", ["/nowhere/clip", "./clip", "~/clip", "a/b/clip"])
def test_a_path_without_a_folder_is_no_name_of_the_hub(name: str, asked: list[tuple[str, str | None]]) -> None:
    with pytest.raises(AnnotateError, match=r"there is no folder .*clip, and the Hub's names are OWNER/NAME"):
        Recipe.for_model(f"hf:{name}")
    assert not asked
