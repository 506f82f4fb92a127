"""Is any dataset joined with its labels, whatever form its samples have? And is an unknown form named?"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset
from torchvision.datasets import ImageFolder
from torchvision.io import decode_image

from tokenlabel import Crops, Example, LabeledImages, LabelError, Views, collate, folder_keys, whole_view

ARGUMENTS: dict[str, Any] = {"augment": Crops((16, 16)), "tokens": (2, 2), "class_count": 10}


class Row(NamedTuple):
    """A sample of one's own."""

    name: str
    picture: Any
    number: int


class Own(torch.utils.data.Dataset[Any]):
    """A dataset whose samples are what a function makes of an index."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        return self.sample(index)


@pytest.fixture(scope="module")
def images(scene_folder: Path) -> ImageFolder:
    return ImageFolder(scene_folder / "images" / "val")


@pytest.fixture(scope="module")
def expected(images: ImageFolder, finished: Path) -> Example:
    return LabeledImages(images, finished, **ARGUMENTS)[5]


def forms(images: ImageFolder) -> dict[str, tuple[Callable[[int], Any], dict[str, Any]]]:
    """Ways of giving a sample, and the arguments that say where its parts are."""
    keys = folder_keys(images)

    def decoded(n: int) -> torch.Tensor:
        return torch.from_numpy(np.array(images[n][0])).permute(2, 0, 1)

    def path(n: int) -> dict[str, Any]:
        return {"bytes": None, "path": images.samples[n][0]}

    def content(n: int) -> dict[str, Any]:
        return {"bytes": Path(images.samples[n][0]).read_bytes(), "path": None}

    named = {"image": "image", "label": "label"}
    return {
        "dict": (lambda n: {"image": images[n][0], "label": images[n][1], "id": n}, named),
        "tuple of three": (lambda n: (n, *images[n]), {"image": 1, "label": 2}),
        "named tuple": (lambda n: Row(keys[n], *images[n]), {"image": "picture", "label": "number", "key": "name"}),
        "functions": (lambda n: {"x": images[n]}, {"image": lambda s: s["x"][0], "label": lambda s: s["x"][1]}),
        "numpy": (lambda n: (np.asarray(images[n][0]), images[n][1]), {}),
        "tensor": (lambda n: (decoded(n), images[n][1]), {}),
        "file of Hugging Face": (lambda n: {"image": path(n), "label": images[n][1]}, named),
        "bytes of Hugging Face": (lambda n: {"image": content(n), "label": images[n][1]}, named),
        "class as tensor": (lambda n: (images[n][0], torch.tensor(images[n][1])), {}),
        "class as array": (lambda n: (images[n][0], np.array([images[n][1]])), {}),
        "class as numpy": (lambda n: (images[n][0], np.int64(images[n][1])), {}),
        "class by name": (lambda n: (images[n][0], images.classes[images[n][1]]), {}),
    }


def same(found: Example, expected: Example) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in (
            (found.pixels, expected.pixels),
            (found.targets.classes, expected.targets.classes),
            (found.label, expected.label),
        )
    )


@pytest.mark.parametrize(
    "form",
    [
        *("dict", "tuple of three", "named tuple", "functions", "numpy", "tensor", "file of Hugging Face"),
        *("bytes of Hugging Face", "class as tensor", "class as array", "class as numpy", "class by name"),
    ],
)
def test_a_sample_of_any_form_is_the_same_example(
    form: str, images: ImageFolder, finished: Path, expected: Example
) -> None:
    sample, where = forms(images)[form]
    keys = None if "key" in where else folder_keys(images)
    assert same(LabeledImages(Own(sample), finished, keys=keys, **where, **ARGUMENTS)[5], expected)


def test_a_picture_without_a_class_has_the_label_minus_one(images: ImageFolder, finished: Path) -> None:
    for sample, where in (
        (lambda n: (images[n][0], None), {}),
        (lambda n: images[n][0], {"image": lambda sample: sample}),
    ):
        data = LabeledImages(Own(sample), finished, keys=folder_keys(images), **where, **ARGUMENTS)
        assert data[5].label == -1


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision are deprecated")
def test_a_picture_that_torchvision_decodes_is_taken(images: ImageFolder, finished: Path) -> None:
    pictures = Own(lambda n: (decode_image(images.samples[n][0]), images[n][1]))
    found = LabeledImages(pictures, finished, keys=folder_keys(images), **ARGUMENTS)[5]
    assert found.pixels.shape == (3, 16, 16)


@pytest.mark.parametrize("decode", [False, True])
def test_rows_of_hugging_face_say_their_keys_and_classes_in_columns(
    decode: bool, images: ImageFolder, finished: Path, expected: Example
) -> None:
    columns = {"image": [path for path, _ in images.samples], "label": images.targets, "key": folder_keys(images)}
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image(decode=decode))
    where = {"image": "image", "label": "label", "key": "key"}
    assert same(LabeledImages(rows, finished, **where, **ARGUMENTS)[5], expected)
    columns["label"] = [(target + 1) % 10 for target in images.targets]
    with pytest.raises(LabelError, match="30 of 30 pictures have another class"):  # before any picture is read
        LabeledImages(datasets.Dataset.from_dict(columns), finished, **where, **ARGUMENTS)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (
            lambda picture: {"image": picture, "label": 3},
            r"a dict with 'image' \(Image\), 'label' \(int\), not a pair \(picture, class .* image='NAME' and",
        ),
        (lambda picture: (picture, 3, 1), "a tuple of 3: Image, int, int, not a pair .* image=0, label=1"),
        (lambda picture: picture, r"is a Image, not a pair .* image=lambda sample: sample, and own_classes=False"),
        (lambda picture: object(), "is a object, not a pair .* image=function and label=function"),
        (lambda picture: (torch.zeros(3, 4, 4), 3), r"picture 5 is a Tensor torch.float32 \[3, 4, 4\], but must be"),
        (lambda picture: ("a.jpg", 3), r"picture 5 is a str, but must be .* image=lambda sample: PIL.Image.open\(sam"),
        (lambda picture: (b"JFIF", 3), r"picture 5 is a bytes, but must .*PIL.Image.open\(io.BytesIO\(sample\[0\]\)"),
        (
            lambda picture: (np.asarray(picture).transpose(2, 0, 1), 3),
            r"a ndarray uint8 \[3, \d+, \d+\], but .* image=lambda sample: sample\[0\].transpose\(1, 2, 0\), for numpy",
        ),
        (
            lambda picture: (torch.from_numpy(np.array(picture)), 3),
            r"a Tensor torch.uint8 .* give image=lambda sample: sample\[0\].permute\(2, 0, 1\), for a tensor",
        ),
        (
            lambda picture: (Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257), 3),
            r"picture 5 has grey values of more than 8 bits \(PIL's mode I;16\), .* give image=function",
        ),
        (lambda picture: (picture, -1), "picture 5 has class -1, .* label=function gives None; if the dataset has"),
        (lambda picture: (picture, "horse"), "picture 5 has the class 'horse', which is the name of no class"),
        (lambda picture: (picture, torch.eye(10)[3]), r"the class of picture 5 is a Tensor torch.float32 \[10\], but"),
        (lambda picture: (picture, 1.0), "the class of picture 5 is a float, but must be a class number, a name, or"),
    ],
)
def test_a_form_that_is_not_known_is_named_with_the_argument_to_give(
    sample: Callable[[Any], Any], said: str, images: ImageFolder, finished: Path
) -> None:
    own = Own(lambda n: sample(images[n][0].copy()))
    data = LabeledImages(own, finished, keys=folder_keys(images), **ARGUMENTS)
    with pytest.raises(LabelError, match=said):
        data[5]


def test_a_stream_is_refused_with_what_takes_streams(images: ImageFolder, finished: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(())

    rows = datasets.Dataset.from_dict({"image": ["a.jpg"], "key": ["a.jpg"]}).to_iterable_dataset()
    for stream in (Stream(), rows):
        with pytest.raises(
            LabelError, match="a (Iterable|Stream).* has no length, .* without streaming=True; .*webdataset_"
        ):
            LabeledImages(stream, finished, image="image", key="key", **ARGUMENTS)


def test_a_field_that_a_sample_lacks_is_named(images: ImageFolder, finished: Path) -> None:
    own = Own(lambda n: {"image": images[n][0], "label": images[n][1]})
    for where, said in (
        ({"image": "img"}, r"image='img' is not in sample 5, which is a dict with 'image'"),
        ({"image": "image", "label": "class"}, r"label='class' is not in sample 5, which is a dict"),
    ):
        data = LabeledImages(own, finished, keys=folder_keys(images), **where, **ARGUMENTS)
        with pytest.raises(LabelError, match=said):
            data[5]
    with pytest.raises(LabelError, match="the key of picture 0 is 0, but a key is text"):
        LabeledImages(own, finished, image="image", key="label", **ARGUMENTS)
    with pytest.raises(LabelError, match="keys and key both say"):
        LabeledImages(own, finished, image="image", key="label", keys=folder_keys(images), **ARGUMENTS)


def test_examples_say_their_key_and_index_on_request(images: ImageFolder, finished: Path) -> None:
    data = LabeledImages(images, finished, with_keys=True, **ARGUMENTS)
    batch = next(iter(DataLoader(data, 3, collate_fn=collate, num_workers=1)))
    pixels, _, label, key, index = batch
    assert pixels.shape == (3, 3, 16, 16)
    assert key == folder_keys(images)[:3]
    assert index.tolist() == [0, 1, 2]
    assert label.tolist() == images.targets[:3]
    assert repr(batch).startswith("KeyedExample(pixels [3, 3, 16, 16], ")


def test_several_views_of_a_picture_come_from_one_read_of_its_label(
    images: ImageFolder, finished: Path, expected: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop, small = Crops((16, 16)), Crops((8, 8), draw=whole_view)
    data = LabeledImages(
        images, finished, **{**ARGUMENTS, "augment": Views(crop, crop, small, tokens=[(2, 2), (2, 2), (1, 1)])}
    )
    read, rows = data.store.read, []
    monkeypatch.setattr(type(data.store), "read", lambda self, which: rows.append(list(which)) or read(which))
    first, second, whole = data[5]
    assert [len(each) for each in rows] == [1]
    assert same(first, expected)
    assert not torch.equal(first.pixels, second.pixels)
    assert whole.targets.classes.shape[0] == 2
    alone = LabeledImages(images, finished, **{**ARGUMENTS, "augment": small, "tokens": (1, 1)})[5]
    assert same(whole, alone)
    batches = next(iter(DataLoader(data, 4, collate_fn=collate)))
    assert [tuple(batch.pixels.shape) for batch in batches] == [(4, 3, 16, 16), (4, 3, 16, 16), (4, 3, 8, 8)]
    with pytest.raises(LabelError, match="Views takes an augmentation for each view, and tokens for each or for none"):
        Views(crop, crop, tokens=[(2, 2)])


def test_several_views_that_are_given_in_another_way_name_views(images: ImageFolder, finished: Path) -> None:
    crop = Crops((16, 16))

    def two(picture: Image.Image, rng: np.random.Generator) -> Any:
        return crop(picture, rng), crop(picture, rng)

    with pytest.raises(LabelError, match=r"for several views of a picture give Views\(…\)"):
        LabeledImages(images, finished, **{**ARGUMENTS, "augment": two})[5]
    with pytest.raises(LabelError, match=r"a list is the steps of one pipeline, .* Views\(…\) for several views"):
        LabeledImages(images, finished, **{**ARGUMENTS, "augment": [crop, crop]})


def test_torchs_own_collate_names_ours(images: ImageFolder, finished: Path) -> None:
    with pytest.raises(LabelError, match=r"give DataLoader\(…, collate_fn=tokenlabel.collate\)"):
        next(iter(DataLoader(LabeledImages(images, finished, **ARGUMENTS), 4)))


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.parametrize("numbers", ["pt", "np"])
def test_the_collate_of_transformers_names_ours(
    with_keys: bool, numbers: str, images: ImageFolder, finished: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="its collate is tried; `pip install '.[hf]'` installs it")
    data = LabeledImages(images, finished, with_keys=with_keys, **ARGUMENTS)
    with pytest.raises(LabelError, match=r"data_collator=lambda examples: tokenlabel.collate\(examples\)._asdict\(\)"):
        transformers.default_data_collator([data[0], data[1]], return_tensors=numbers)


def test_an_example_is_a_tuple_like_any_other(expected: Example) -> None:
    for twin in (pickle.loads(pickle.dumps(expected)), copy.deepcopy(expected), Example(*expected)):
        assert same(twin, expected)
        assert repr(twin) == repr(expected)
    pixels, targets, label = expected
    assert (pixels, targets, label) == (expected.pixels, expected.targets, expected[2])
    assert "pixels" in dir(expected)
    assert not hasattr(expected, "pictures")
    with pytest.raises(AttributeError, match="'Example' object has no attribute 'pictures'"):
        _ = expected.pictures  # type: ignore[attr-defined]
