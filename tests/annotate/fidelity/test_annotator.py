"""Is the annotator of a store built again from its own recipe, and refused where it is another one?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from annotate.errors import AnnotateError
from annotate.fidelity import annotator_of_store
from annotate.images import by_key
from annotate.inspect.overlay import picture_of
from storage import create_store, open_store


def test_it_gives_the_labels_of_the_store_with_all_their_classes(
    finished: Path, scene_folder: Path, checkpoint: Path
) -> None:
    store = open_store(finished)
    annotator = annotator_of_store(store, [checkpoint])
    assert annotator.k == store.schema.class_count
    label = store.read([0])[0]
    again = annotator([np.asarray(picture_of(store, 0, label, by_key(scene_folder / "images/val")))])[0]
    assert (again.classes[..., 0] == label.classes[..., 0]).all()
    assert again.scores[..., 0] == pytest.approx(label.scores[..., 0], abs=0.01)


def test_a_store_of_weights_from_a_file_needs_the_file(finished: Path) -> None:
    with pytest.raises(AnnotateError, match="got 0 --checkpoint for the networks of .* came from files: test_resnet"):
        annotator_of_store(open_store(finished))


def test_a_file_with_other_weights_is_refused_with_both_hashes(
    finished: Path, checkpoint: Path, tmp_path: Path
) -> None:
    weights = {name: tensor + torch.ones_like(tensor) for name, tensor in load_file(checkpoint).items()}
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(AnnotateError, match=r"has other weights than those .* SHA-256 is sha256:\w+, expected sha256:"):
        annotator_of_store(open_store(finished), [tmp_path / "other.safetensors"])


def test_weights_that_have_changed_since_are_refused(finished: Path, checkpoint: Path, tmp_path: Path) -> None:
    store = open_store(finished)
    networks = [{**store.schema.provenance["networks"][0], "state": "sha256:0"}]
    schema = replace(store.schema, provenance={**store.schema.provenance, "networks": networks})
    create_store(tmp_path / "s.zarr", schema, store.keys)
    with pytest.raises(AnnotateError, match="are not those that labelled .* the store has sha256:0"):
        annotator_of_store(open_store(tmp_path / "s.zarr"), [checkpoint])


def test_a_store_that_names_no_network_is_refused(finished: Path, tmp_path: Path) -> None:
    store = open_store(finished)
    create_store(tmp_path / "s.zarr", replace(store.schema, recipe={"tool": "another"}), store.keys)
    with pytest.raises(AnnotateError, match="does not say which networks labelled it"):
        annotator_of_store(open_store(tmp_path / "s.zarr"))
