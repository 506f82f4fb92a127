"""Do pictures get their own labels, in any order, batch and worker?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder

from storage import KeyNotFoundError, Schema, create_store, open_store
from storage.encoding.coded_labels import encode
from tests.labels import random_labels
from tests.tokenlabel.distributions import dense
from tokenlabel import (
    Crops,
    LabeledImages,
    LabelError,
    Paper,
    TokenTargets,
    View,
    align,
    collate,
    folder_keys,
    sparse_targets,
    whole_view,
)
from tokenlabel.targets.paper import paper_targets


@pytest.fixture
def images(scene_folder: Path) -> ImageFolder:
    return ImageFolder(scene_folder / "images" / "val")


@pytest.fixture
def dataset(images: ImageFolder, finished: Path) -> LabeledImages:
    return LabeledImages(
        images, finished, keys=folder_keys(images), augment=Crops((64, 64)), tokens=(8, 8), class_count=10, seed=5
    )


def test_each_picture_gets_the_label_of_its_own_key(images: ImageFolder, finished: Path) -> None:
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    keys = folder_keys(images)
    shuffled = torch.utils.data.Subset(images, order)
    data = LabeledImages(
        shuffled,
        finished,
        keys=[keys[n] for n in order],
        augment=Crops((64, 64), draw=whole_view),
        tokens=(8, 8),
        class_count=10,
        keep=5,
    )
    store = open_store(finished)
    for index in (0, 7, 29):
        expected = align(store.read([store.find(keys[order[index]])])[0], View.whole(), (8, 8))
        best = expected.classes[expected.scores.reshape(64, -1).argmax(1)]
        targets = data[index].targets
        likeliest = targets.classes[1:].gather(1, targets.probabilities[1:].argmax(1, keepdim=True))[:, 0]
        assert (likeliest.numpy() == best).all()
        assert data[index].label == images.targets[order[index]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_is_drawn_by_seed_epoch_and_index_alone(dataset: LabeledImages, workers: int) -> None:
    dataset.set_epoch(3)
    alone = [dataset[index] for index in range(len(dataset))]
    dataset.set_epoch(3)
    loader = DataLoader(dataset, 7, collate_fn=collate, num_workers=workers)
    together = collate([example for batch in loader for example in _split(batch)])
    assert torch.equal(together.pixels, torch.stack([example.pixels for example in alone]))
    assert torch.equal(together.targets.probabilities, torch.stack([e.targets.probabilities for e in alone]))
    assert together.label.tolist() == [int(example.label) for example in alone]
    dataset.set_epoch(4)
    assert not torch.equal(dataset[0].pixels, alone[0].pixels)


def test_a_new_epoch_reaches_workers_that_stay(dataset: LabeledImages) -> None:
    loader = DataLoader(dataset, 30, collate_fn=collate, num_workers=1, persistent_workers=True)
    passes = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        passes.append(next(iter(loader)).pixels)
    assert torch.equal(passes[0], passes[2])
    assert not torch.equal(passes[0], passes[1])


def _split(batch):
    return [type(batch)(batch.pixels[n], batch.targets[n], batch.label[n]) for n in range(len(batch.label))]


def test_a_key_that_the_store_lacks_is_an_error_at_once(images: ImageFolder, finished: Path) -> None:
    keys = ["other.jpg", *folder_keys(images)[1:]]
    with pytest.raises(KeyNotFoundError, match="no row for the key 'other.jpg'"):
        LabeledImages(images, finished, keys=keys, augment=Crops((64, 64)), tokens=(8, 8), class_count=10)
    with pytest.raises(LabelError, match="30 pictures were given with 2 keys"):
        LabeledImages(images, finished, keys=keys[:2], augment=Crops((64, 64)), tokens=(8, 8), class_count=10)


def test_a_row_without_a_label_is_an_error_at_once(images: ImageFolder, finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "unfinished.zarr"
    shutil.copytree(finished, store)
    (store / "shards/record/c/1").unlink()
    with pytest.raises(LabelError, match="8 of 30 pictures have no label in .*, pending"):
        LabeledImages(images, store, keys=folder_keys(images), augment=Crops((64, 64)), tokens=(8, 8), class_count=10)


def test_a_picture_of_another_size_than_was_labelled_is_refused(images: ImageFolder, finished: Path) -> None:
    class Turned(ImageFolder):
        def __getitem__(self, index: int):
            picture, label = super().__getitem__(index)
            return picture.transpose(Image.Transpose.ROTATE_90), label

    data = LabeledImages(
        Turned(images.root), finished, keys=folder_keys(images), augment=Crops((64, 64)), tokens=(8, 8), class_count=10
    )
    with pytest.raises(LabelError, match="pixels, but .* when it was labelled"):
        data[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 8 worker processes")
def test_a_parent_that_has_read_forks_eight_workers_that_read(dataset: LabeledImages) -> None:
    alone = [dataset[index] for index in range(len(dataset))]
    dataset.set_epoch(0)
    loader = DataLoader(dataset, 3, collate_fn=collate, num_workers=8, multiprocessing_context="fork")
    together = collate([example for batch in loader for example in _split(batch)])
    assert torch.equal(together.targets.probabilities, torch.stack([e.targets.probabilities for e in alone]))


def test_pictures_without_a_label_can_be_taught_their_class_alone_and_are_counted(
    images: ImageFolder, finished: Path, tmp_path: Path
) -> None:
    store = tmp_path / "unfinished.zarr"
    shutil.copytree(finished, store)
    (store / "shards/record/c/1").unlink()
    keys = folder_keys(images)
    keys[0] = "unknown/picture.jpg"
    arguments = {
        "keys": keys,
        "augment": Crops((64, 64)),
        "tokens": (8, 8),
        "class_count": 10,
        "missing": "class",
        "seed": 5,
    }
    data = LabeledImages(images, store, **arguments)
    assert data.missing_count == 9
    pending = [open_store(store).find(key) in range(8, 16) for key in keys[1:]]
    missing = [0, *(n for n, gone in enumerate(pending, 1) if gone)]
    whole = LabeledImages(
        images, finished, keys=folder_keys(images), augment=Crops((64, 64)), tokens=(8, 8), class_count=10, seed=5
    )
    for n, (found, expected) in enumerate(
        zip(data.__getitems__([*range(30)]), whole.__getitems__([*range(30)]), strict=True)
    ):
        assert torch.equal(found.pixels, expected.pixels)
        if n in missing:
            assert found.targets.outside.tolist() == [False] + 64 * [True]
            assert (found.targets.classes[0, 0], found.targets.probabilities[0].sum()) == (found.label, 1)
        else:
            assert torch.equal(found.targets.probabilities, expected.targets.probabilities)
    assert all(data[n].targets.outside[1:].all() for n in missing)  # alone, too
    with pytest.raises(LabelError, match='give missing="class"'):
        LabeledImages(images, store, **{**arguments, "keys": folder_keys(images), "missing": "refuse"})


def test_a_model_of_other_classes_or_without_a_grid_is_refused_at_once(images: ImageFolder, finished: Path) -> None:
    arguments = {"keys": folder_keys(images), "augment": Crops((64, 64))}
    with pytest.raises(LabelError, match="the model has 1000 classes, and the labels in .* are of 10"):
        LabeledImages(images, finished, tokens=(8, 8), class_count=1000, **arguments)
    with pytest.raises(LabelError, match=r"tokens must be \(rows, columns\)"):
        LabeledImages(images, finished, tokens=(0, 8), class_count=10, **arguments)
    for tokens in (4, (4.5, 4), (4, 4, 4)):
        with pytest.raises(LabelError, match=r"tokens must be \(rows, columns\) and keep a number of classes, all int"):
            LabeledImages(images, finished, tokens=tokens, class_count=10, **arguments)


def test_class_numbers_of_other_classes_are_refused_or_left_out(images: ImageFolder, finished: Path) -> None:
    arguments = {"augment": Crops((64, 64)), "tokens": (8, 8), "class_count": 10}
    images.classes = images.classes[:7]
    with pytest.raises(LabelError, match="the dataset has 7 classes, and the labels in .* are of 10: a class number"):
        LabeledImages(images, finished, **arguments)
    assert LabeledImages(images, finished, own_classes=False, **arguments)[3].label == -1
    with pytest.raises(LabelError, match="own_classes=False ignores these classes; give only one"):
        LabeledImages(images, finished, own_classes=False, missing="class", **arguments)
    images.classes = []
    images.target_transform = lambda label: label + 10
    with pytest.raises(LabelError, match="picture 3 has class 1., but the labels in .* are of 10 classes"):
        LabeledImages(images, finished, **arguments)[3]


def test_it_prints_itself_in_a_line(dataset: LabeledImages, finished: Path) -> None:
    assert repr(dataset) == f"LabeledImages(pictures=30, store='{finished}', tokens=8x8, rule=BLENDED)"


def test_it_is_counted_as_sequences_are(dataset: LabeledImages) -> None:
    last = dataset[-1].pixels
    dataset.set_epoch(0)
    assert torch.equal(last, dataset[29].pixels)
    with pytest.raises(IndexError):
        dataset[30]


def test_keys_are_asked_for_where_they_are_not_known(images: ImageFolder, finished: Path) -> None:
    arguments = {"augment": Crops((64, 64)), "tokens": (8, 8), "class_count": 10}
    with pytest.raises(LabelError, match="the keys of a Subset's pictures are not known: give keys="):
        LabeledImages(torch.utils.data.Subset(images, [0]), finished, **arguments)
    whole = LabeledImages(images, finished, keys=folder_keys(images), **arguments)
    known = LabeledImages(images, finished, **arguments)
    assert torch.equal(known[3].targets.probabilities, whole[3].targets.probabilities)


def test_pictures_of_unknown_size_are_refused_at_once(images: ImageFolder, tmp_path: Path) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=10, rows_per_shard=30)
    store = create_store(tmp_path / "unknown.zarr", schema, folder_keys(images))
    labels = random_labels(np.random.default_rng(0), 30, class_count=10)
    labels.sizes[4] = 0
    store.write(range(30), labels)
    with pytest.raises(LabelError, match="does not have the sizes of 1 pictures, the first of them '2/00011"):
        LabeledImages(images, tmp_path / "unknown.zarr", augment=Crops((64, 64)), tokens=(8, 8), class_count=10)


def test_the_papers_method_is_a_rule_and_its_errors_are_switches(images: ImageFolder, finished: Path) -> None:
    arguments = {"augment": Crops((64, 64)), "tokens": (4, 4), "class_count": 10, "keep": 10}
    paper = LabeledImages(images, finished, rule=Paper(), **arguments)
    swapped = LabeledImages(images, finished, rule=Paper(axes="swapped"), **arguments)
    label = open_store(finished).read([open_store(finished).find(folder_keys(images)[3])])
    view = Crops((64, 64)).draw(np.random.default_rng([0, 0, 3]), tuple(label.sizes[0].tolist()))
    for data, axes in ((paper, "right"), (swapped, "swapped")):
        expected = paper_targets(label, [view], (4, 4), class_count=10, smoothing=0, axes=axes)
        found = dense(TokenTargets.stack([data[3].targets]), 10)
        assert found == pytest.approx(expected.numpy(), abs=1e-5)
    assert not torch.allclose(paper[3].targets.probabilities, swapped[3].targets.probabilities)
    with pytest.raises(
        LabelError, match=r"rule must be tokenlabel.BLENDED, a tokenlabel.Paper\(…\) or another rule, not '"
    ):
        LabeledImages(images, finished, rule="paper", **arguments)
    with pytest.raises(LabelError, match="or another rule, not <class"):
        LabeledImages(images, finished, rule=Paper, **arguments)


def test_logits_are_for_the_papers_rule_alone(images: ImageFolder, tmp_path: Path) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=10, rows_per_shard=30, scores="logit", score_type="float16")
    store = create_store(tmp_path / "logits.zarr", schema, folder_keys(images))
    labels = random_labels(np.random.default_rng(0), 30, class_count=10)
    labels.sizes[:] = [picture.size[::-1] for picture, _ in images]
    store.write(range(30), replace(labels, scores=(9 * labels.scores).astype(np.float16), kind="logit"))
    arguments = {"augment": Crops((64, 64)), "tokens": (4, 4), "class_count": 10}
    with pytest.raises(LabelError, match="are logits, as another tool wrote them: train on them with rule=Paper"):
        LabeledImages(images, store, **arguments)
    assert LabeledImages(images, store, rule=Paper(), **arguments)[0].targets.probabilities.sum() > 1


def test_a_label_that_does_not_say_what_it_covers_is_refused() -> None:
    labels = random_labels(np.random.default_rng(0), 1)
    nowhere = replace(labels, status=labels.status, boxes=labels.boxes)
    nowhere.boxes[:] = np.nan
    with pytest.raises(LabelError, match="does not say which part of its picture"):
        sparse_targets(nowhere, [View.whole()], (2, 2))


def test_transforms_that_would_move_pixels_without_labels_are_refused(images: ImageFolder, finished: Path) -> None:
    arguments = {"tokens": (8, 8), "class_count": 10}
    for wrong in (None, Crops):
        with pytest.raises(LabelError, match="augment must be Crops.*, a pipeline of torchvision's or timm's, or"):
            LabeledImages(images, finished, augment=wrong, **arguments)
    moved = ImageFolder(images.root, transform=v1.RandomHorizontalFlip(1.0))
    for pictures in (moved, torch.utils.data.Subset(moved, range(30))):
        with pytest.raises(LabelError, match="has a transform of its own"):
            LabeledImages(pictures, finished, augment=Crops((64, 64)), keys=folder_keys(images), **arguments)
    nothing = LabeledImages(images, finished, augment=lambda picture, rng: (torch.zeros(3), None), **arguments)
    with pytest.raises(LabelError, match=r"augment must give \(pixels, view\), a tensor and a View or a Warp, not"):
        nothing[0]
    with pytest.raises(LabelError, match=r"the size of crops must be \(height, width\)"):
        Crops(64)


def test_labels_that_cover_no_part_of_their_picture_are_refused_at_once(images: ImageFolder, tmp_path: Path) -> None:
    arguments = {"augment": Crops((64, 64)), "tokens": (8, 8), "class_count": 10}
    for n, box in enumerate(([np.nan] * 4, [0.5, 0, 0.5, 1], [5, 5, 6, 6])):
        schema = Schema(grid=(6, 5), k=3, class_count=10, rows_per_shard=30)
        store = create_store(tmp_path / f"{n}.zarr", schema, folder_keys(images))
        labels = random_labels(np.random.default_rng(0), 30, class_count=10)
        labels.boxes[4] = box
        store.backend.put(0, encode(labels, schema))  # `write` refuses the first two
        with pytest.raises(LabelError, match="1 labels in .* do not say which part of their picture .* first .*11"):
            LabeledImages(images, store, **arguments)
