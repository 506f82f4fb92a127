"""Does every public class print itself in one short line, without an address in memory?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Identity
from torchvision.datasets import ImageFolder

import annotate
import storage
import tokenlabel
from annotate.images.sources.folder import FolderImages
from annotate.jobs.calibrate import Calibration
from annotate.jobs.plan import Plan
from annotate.jobs.summary import Summary
from annotate.locality import Locality
from annotate.model.recipe import Recipe
from storage import KeyedFailure, LabelStore, Status
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tokenlabel import View, token_targets

LONGEST = 200
WITHOUT_VALUES = {
    "LVViT",
    "LabeledCompose",
    "Student",
    "TokenHeadStudent",
}  # torch modules that hold others: they print a line for each, as all do
LABELS = random_labels(np.random.default_rng(0), 128)
VIEWS = [View.whole()] * 128
TARGETS = token_targets(LABELS, VIEWS, (14, 14))


def classes(package: ModuleType) -> set[str]:
    """The public classes of a package that have values of their own to print."""
    found = {name: getattr(package, name) for name in package.__all__}
    return {
        name
        for name, kind in found.items()
        if isinstance(kind, type)
        and not issubclass(kind, BaseException)
        and kind.__module__.startswith(package.__name__)
    } - WITHOUT_VALUES


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    made = storage.create_store(str(tmp_path / "labels.zarr"), SCHEMA, KEYS)
    made.write(SHARDS[0], random_labels(np.random.default_rng(0), 4))
    made.find(KEYS[0])
    return made


@pytest.fixture
def of_storage(store: LabelStore) -> Mapping[str, Any]:
    found = storage.verify(store)
    return {
        "Backend": store.backend,
        "Box": storage.Box(0.123456789, 0.1, 1 / 3, 2 / 3),
        "Copied": storage.copy(store, f"{store.address}-2"),
        "Failure": storage.Failure(row=1, status=Status.MISSING, reason="gone"),
        "Gathered": storage.Gathered(address="all.zarr", pictures=1_281_167, gathered_now=1_281_167, pending=0),
        "Header": store.header,
        "KeyedFailure": KeyedFailure("a.jpg", "missing", "gone"),
        "LabelMap": LABELS,
        "LabelStore": store,
        "Lightened": storage.Lightened(address="a.zarr", pictures=1_281_167, lightened_now=1_281_167, pending=0),
        "Lightness": storage.Lightness(k=3, coarse=8, grid=(9, 9)),
        "Progress": storage.Progress(1, 2, 0),
        "Publication": storage.Publication(name="Cats", source="pictures", licence="CC0-1.0"),
        "Pulled": storage.Pulled(folder="labels.zarr", objects=7512, pulled_now=7512),
        "Pushed": storage.Pushed(address="hf://datasets/ann/labels", objects=7512, pushed_now=7512),
        "Record": store.record(0),
        "Schema": store.schema,
        "ShardReport": found.shards[0],
        "ShardReports": found.shards,
        "Status": Status.LABELLED,
        "Verification": found,
    }


@pytest.fixture
def of_annotate(recipe: Recipe, store: LabelStore, scene_folder: Path, single_threaded: None) -> Mapping[str, Any]:
    failures = tuple(KeyedFailure(f"{n}.jpg", "missing", "gone") for n in range(1000))
    speeds = 123.456789, 234.567890123, 345.678901234
    pairs = 0.123456789, 0.987654321
    return {
        "Annotator": annotate.Annotator(recipe, k=3),
        "Calibration": Calibration(temperature=1.23456789, pictures=2000, accuracy=1 / 3, nll=pairs, error=pairs),
        "DenseNetwork": SimpleNamespace(class_names=("red", "green"), input_size=(8, 16), gives="logits"),  # a user's
        "FunctionNetwork": annotate.FunctionNetwork(model="own:make", weights=f"sha256:{0:064}", input_size=(8, 16)),
        "HubNetwork": annotate.HubNetwork(
            model="hf:own", weights=f"sha256:{0:064}", input_size=(8, 16), mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        "ImageSource": FolderImages(scene_folder / "images/val"),
        "LocalWorkers": annotate.LocalWorkers(),
        "Locality": Locality(
            value=1 / 3,
            interval=(0.3, 0.4),
            alone=2 / 3,
            kept=(1 / 5, 1 / 6, 1 / 4),
            mosaics=16,
        ),
        "Network": recipe.networks[0],
        "Plan": Plan(
            pictures=1_281_167,
            shards=1252,
            bytes=2**31,
            bytes_each=1 / 3,
            speeds=speeds,
            workers=8,
            device="an accelerator",
            unreadable=0,
            probed=112,
            why="not compiled: it would take longer than it saves, by what was measured",
        ),
        "RayWorkers": annotate.RayWorkers(2),
        "Recipe": recipe,
        "Summary": Summary(
            pictures=1_281_167,
            labelled=1_280_167,
            failures=failures,
            given_up=(),
            labelled_now=1_280_167,
            seconds=1234.56789,
            left_out=3,
            head="exact",
        ),
        "Vocabulary": annotate.Vocabulary(
            names=tuple(map(str, range(1000))), prompts=(("a",),) * 1000, background=("sky", "wall")
        ),
        "Workers": annotate.LocalWorkers(),
    }


@pytest.fixture
def of_tokenlabel(scene_folder: Path, finished: Path) -> Mapping[str, Any]:
    crops = tokenlabel.Crops((64, 48))
    images = tokenlabel.LabeledImages(
        ImageFolder(scene_folder / "images/val"),
        str(finished),
        augment=crops,
        tokens=(4, 4),
        class_count=10,
        missing="class",
    )
    mixer = tokenlabel.Mixer((14, 14), 40)
    return {
        "Augmentation": crops,
        "AutoAugment": tokenlabel.AutoAugment(),
        "Crops": crops,
        "EpochSampler": tokenlabel.EpochSampler(images),
        "Example": tokenlabel.Example(torch.zeros(128, 3, 64, 64), TARGETS, torch.zeros(128)),
        "KeyedExample": tokenlabel.KeyedExample(torch.zeros(3, 4, 4), TARGETS[0], torch.zeros(()), "a/b.jpg", 7),
        "LabelTensor": tokenlabel.LabelTensor(LABELS[0], canvas=(30, 40)),
        "LabeledImages": images,
        "Mix": mixer.draw(128, (64, 64), epoch=0, index=0),
        "Mixer": mixer,
        "Paper": tokenlabel.Paper(),
        "RandAugment": tokenlabel.RandAugment(),
        "ResolveLabels": tokenlabel.ResolveLabels((4, 4)),
        "Rule": tokenlabel.BLENDED,
        "SparseTargets": tokenlabel.sparse_targets(LABELS, VIEWS, (14, 14)),
        "Taught": tokenlabel.Taught(TARGETS[:1], torch.zeros(1)),
        "TokenLogits": tokenlabel.TokenLogits(torch.zeros(2, 10), torch.zeros(2, 4, 10), (2, 2)),
        "TokenScores": tokenlabel.align(LABELS[0], View.whole(), (2, 3)),
        "TokenSwap": mixer.draw(128, (64, 64), epoch=0, index=0).swap(),
        "TokenTargets": TARGETS,
        "Traced": tokenlabel.Traced([Identity()]),
        "TrivialAugmentWide": tokenlabel.TrivialAugmentWide(),
        "View": tokenlabel.random_view(np.random.default_rng(0), (480, 640)),
        "Views": tokenlabel.Views(crops, crops),
        "Warp": tokenlabel.Warp.of(View.whole()).bent(np.zeros((4, 4, 2), np.float32)),
    }


@pytest.mark.parametrize("package", [annotate, storage, tokenlabel])
def test_every_public_class_prints_itself_in_a_short_line(package: ModuleType, request: pytest.FixtureRequest) -> None:
    values = request.getfixturevalue(f"of_{package.__name__}")
    assert classes(package) == {*values}, "give each new public class a value here"
    shown = {name: repr(value) for name, value in values.items()}
    assert {name: text for name, text in shown.items() if len(text) > LONGEST} == {}
    assert {name: text for name, text in shown.items() if "\n" in text or " at 0x" in text} == {}


def test_an_example_whose_label_is_a_number_prints_itself() -> None:
    assert repr(tokenlabel.Example(torch.zeros(3, 4, 4), TARGETS[0], 7)).endswith("label 7)")


def test_what_a_store_holds_prints_itself_too(store: LabelStore) -> None:
    for value in (store.header, store.backend, store.backend.key_index):
        assert len(repr(value)) <= LONGEST
        assert " at 0x" not in repr(value)
