"""Does `python -m tokenlabel.retrieval` train and evaluate by class and by labels, and say what is wrong?"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torchvision.datasets import ImageFolder

from storage import Schema, create_store
from tests.labels import random_labels
from tokenlabel import LabelError, folder_keys, with_token_head
from tokenlabel.retrieval import Whitening, contrastive_loss, retrieval_scores
from tokenlabel.retrieval.__main__ import main
from tokenlabel.retrieval.pictures import Pictures, pipeline
from tokenlabel.retrieval.sampler import ClassBatches
from tokenlabel.retrieval.settings import RetrievalSettings
from tokenlabel.retrieval.trainer import RetrievalTrainer


@pytest.fixture
def settings(small_demo: Path, tmp_path: Path) -> dict[str, Any]:
    out = small_demo / "demo/out"
    return {
        "data": str(out / "images/train"), "val": str(out / "images/val"), "labels": str(out / "labels-train.zarr"),
        "output": str(tmp_path / "run"), "model": "test_vit", "img_size": 32, "resize": 32, "steps": 6,
        "classes": 3, "each": 3, "evaluate_every": 3, "lr": 1e-3, "amp": "float32", "workers": 0, "device": "cpu",
    }  # fmt: skip


def words(settings: dict[str, Any], **changed: Any) -> list[str]:
    both = {**settings, **changed}
    return [word for name, value in both.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def lines(settings: dict[str, Any]) -> list[dict[str, str]]:
    with (Path(settings["output"]) / "log.csv").open() as file:
        return [*csv.DictReader(file)]


@pytest.mark.usefixtures("single_threaded")
def test_it_trains_from_a_file_of_settings_and_evaluates_the_same(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "irt.toml"
    config.write_text("momentum = 0.9\nkoleo = 1\npca = 8\n")
    main(["--config", str(config), *words(settings)])
    log = lines(settings)
    assert [line["step"] for line in log] == ["3", "6"]
    assert all(0 < float(line["recall_at_1"]) <= 1 and float(line["pca_map"]) > 0 for line in log)
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    assert (state["settings"]["momentum"], state["settings"]["koleo"]) == (0.9, 1.0)
    capsys.readouterr()
    main(["--evaluate", "--config", str(config), *words(settings)])
    shown = capsys.readouterr().out
    assert f"descriptors: Recall@1 {float(log[-1]['recall_at_1']):.4f}" in shown
    assert f"mean log distance to the nearest: {float(log[-1]['log_distance']):.4f}" in shown
    with pytest.raises(SystemExit, match="holds a training already; give another --output, or --evaluate it"):
        main(words(settings))


def contrastive(settings: dict[str, Any], output: Path, **changed: Any) -> list[str]:
    """The mean contrastive loss of steps 1 to 3, and of steps 4 to 6."""
    mine = {**settings, "val": "", "output": output, **changed}
    main(words(mine))
    return [line["contrastive"] for line in lines(mine)]


@pytest.mark.usefixtures("single_threaded")
def test_the_memory_stays_empty_for_the_steps_that_are_asked_for(settings: dict[str, Any], tmp_path: Path) -> None:
    without = contrastive(settings, tmp_path / "without", memory=0)
    late = contrastive(settings, tmp_path / "late", memory_after=4)  # step 5 fills it, and step 6 reads it
    assert late[0] == without[0]
    assert float(late[1]) > float(without[1])  # a sum over more pairs
    assert contrastive(settings, tmp_path / "never", memory_after=5) == without  # step 6 fills it, and none reads it
    assert contrastive(settings, tmp_path / "at-once")[0] != without[0]


@pytest.mark.usefixtures("single_threaded")
def test_each_setting_of_the_training_changes_what_is_learnt(settings: dict[str, Any], tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"koleo": 5}, {"margin": 0.9}, {"momentum": 0.5}, {"momentum": 0.9}]
    changes += [{"memory": 0.1}, {"lr": 1e-2}, {"weight_decay": 0.5}, {"hflip": 0}, {"pooling": "mean"}]
    changes += [{"amp": "bfloat16"}]
    learnt = [contrastive(settings, tmp_path / str(n), **changed)[1] for n, changed in enumerate(changes)]
    assert len({*learnt}) == len(changes)
    assert contrastive(settings, tmp_path / "again")[1] == learnt[0]
    assert contrastive(settings, tmp_path / "seed", seed=1)[1] != learnt[0]


@pytest.mark.usefixtures("single_threaded")
def test_a_picture_is_no_pair_with_its_own_earlier_descriptor(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = []

    def watched(*given: Any, same: torch.Tensor, **options: Any) -> torch.Tensor:
        left_out.append(same)
        return contrastive_loss(*given, same=same, **options)

    monkeypatch.setattr("tokenlabel.retrieval.trainer.contrastive_loss", watched)
    few = {**settings, "data": str(tmp_path / "few"), "classes": 2, "each": 2, "memory": 1, "steps": 2}
    for folder in ("0", "1"):
        (tmp_path / "few" / folder).mkdir(parents=True)
        for picture in sorted((Path(settings["data"]) / folder).iterdir())[:2]:
            shutil.copy(picture, tmp_path / "few" / folder)
    contrastive(few, tmp_path / "run")
    first, second = left_out
    assert torch.equal(first, torch.eye(4, dtype=torch.bool))
    assert second.shape == (4, 8)
    assert second.sum(1).tolist() == [2] * 4  # itself, and itself in the memory


@pytest.mark.usefixtures("single_threaded")
def test_pictures_are_described_in_evaluation_mode_and_steps_are_taken_in_training_mode(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**settings, "model": "test_resnet", "pooling": "mean", "steps": 2, "evaluate_every": 1}
    trainer, modes = RetrievalTrainer(RetrievalSettings(**small)), []
    step = RetrievalTrainer._step

    def watched(self: RetrievalTrainer, *given: Any) -> dict[str, float]:
        modes.append(self.descriptor.training)
        return step(self, *given)

    monkeypatch.setattr(RetrievalTrainer, "_step", watched)
    trainer.train()
    assert modes == [True, True]
    trainer.descriptor.eval()
    found, _ = trainer.describe(small["val"], "")
    trainer.descriptor.train()
    assert torch.equal(trainer.describe(small["val"], "")[0], found)  # its batch norms would say otherwise


def test_pixels_are_normalised_as_the_network_was_made_for(settings: dict[str, Any]) -> None:
    trainer, images = RetrievalTrainer(RetrievalSettings(**settings)), ImageFolder(settings["val"])
    plain, _ = Pictures(images, pipeline(32, 32, (0.0,) * 3, (1.0,) * 3))[0]
    known = trainer.descriptor.network.pretrained_cfg
    mean, std = (torch.tensor(known[name])[:, None, None] for name in ("mean", "std"))
    assert torch.allclose(trainer._pictures(images, "")[0][0], (plain - mean) / std, atol=1e-5)


@pytest.mark.usefixtures("single_threaded")
def test_a_loss_that_is_not_finite_ends_it(settings: dict[str, Any], tmp_path: Path) -> None:
    network = RetrievalTrainer(RetrievalSettings(**settings)).descriptor.network
    torch.nn.init.constant_(network.norm.weight, torch.nan)
    torch.save(network.state_dict(), tmp_path / "broken.pt")
    with pytest.raises(SystemExit, match="error: the loss is nan; try a lower --lr, in another --output"):
        main(words(settings, initial=tmp_path / "broken.pt"))


@pytest.mark.usefixtures("single_threaded")
def test_whitening_is_fitted_on_the_training_pictures(settings: dict[str, Any]) -> None:
    trainer = RetrievalTrainer(RetrievalSettings(**settings, pca=8))
    found, classes = trainer.describe(settings["val"], "")
    whitened = Whitening.fit(trainer.describe(settings["data"], "")[0], 8)(found)
    assert trainer.evaluate()[0]["pca"] == retrieval_scores(whitened, classes)


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("positives", ["argmax", "overlap"])
def test_labels_say_who_belongs_together_where_there_is_no_class(
    settings: dict[str, Any], positives: str, tmp_path: Path
) -> None:
    """All pictures lie in one folder, so that only their labels tell them apart."""
    only = tmp_path / "pictures"
    shutil.copytree(settings["data"], only / "all")
    keys = folder_keys(ImageFolder(only))
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=len(keys), recipe={"model": "resnet50"})
    store = create_store(str(tmp_path / "labels.zarr"), schema, keys)
    store.write(range(len(keys)), random_labels(np.random.default_rng(0), len(keys)))
    unclassed = {**settings, "data": str(only), "val": "", "labels": str(tmp_path / "labels.zarr")}
    with pytest.raises(SystemExit, match="1 of 1 classes have two pictures or more, but a batch takes 2"):
        main(words(unclassed, classes=2, output=tmp_path / "by-class"))
    by_label = {**unclassed, "positives": positives, "classes": 2, "each": 2}
    strict, loose = (contrastive(by_label, tmp_path / str(value), threshold=value) for value in (0.999, 0.94))
    assert float(strict[1]) > 0
    assert (strict == loose) == (positives == "argmax")


@pytest.mark.usefixtures("single_threaded")
def test_labels_weigh_the_pooled_tokens(settings: dict[str, Any], finished: Path) -> None:
    by_labels = {**settings, "pooling": "mean", "label_pooling": True, "val_labels": str(finished)}
    trainer = RetrievalTrainer(RetrievalSettings(**by_labels))
    found, _ = trainer.describe(by_labels["val"], by_labels["val_labels"])
    plain = RetrievalTrainer(RetrievalSettings(**{**by_labels, "label_pooling": False}))
    plain.descriptor.load_state_dict(trainer.descriptor.state_dict())
    assert not torch.allclose(found, plain.describe(by_labels["val"], "")[0])
    trainer.train()
    assert float(lines(settings)[-1]["recall_at_1"]) > 0


@pytest.mark.usefixtures("single_threaded")
def test_weights_are_taken_from_a_file(settings: dict[str, Any], tmp_path: Path) -> None:
    first = RetrievalTrainer(RetrievalSettings(**settings))
    torch.save(first.descriptor.network.state_dict(), tmp_path / "weights.pt")
    second = RetrievalTrainer(RetrievalSettings(**settings, initial=str(tmp_path / "weights.pt")))
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(second.descriptor.eval()(pixels), first.descriptor.eval()(pixels))
    student = with_token_head(timm.create_model("test_vit", num_classes=5, img_size=32))
    torch.save(student.state_dict(), tmp_path / "student.pt")
    third = RetrievalTrainer(RetrievalSettings(**settings, initial=str(tmp_path / "student.pt")))
    assert torch.equal(third.descriptor.network.norm.weight, student.network.norm.weight)
    assert torch.equal(third.descriptor.network.cls_token, student.network.cls_token)
    some = dict(first.descriptor.network.state_dict())
    del some["norm.bias"]
    torch.save(some, tmp_path / "some.pt")
    with pytest.raises(LabelError, match="lacks 1 of test_vit's weights, the first of them 'norm.bias'; give weights"):
        RetrievalTrainer(RetrievalSettings(**settings, initial=str(tmp_path / "some.pt")))
    with pytest.raises(LabelError, match="test_vit2"):
        RetrievalTrainer(
            RetrievalSettings(**{**settings, "model": "test_vit2", "initial": str(tmp_path / "weights.pt")})
        )


def test_a_picture_is_a_function_of_seed_and_step(settings: dict[str, Any]) -> None:
    images = ImageFolder(settings["data"])
    shown = pipeline(24, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), hflip=0.5)
    first, second = ClassBatches(images.targets, classes=2, each=2, steps=2)
    index = first[0]
    again = type(index)(int(index), epoch=second[0].epoch, repeat=0)
    pictures = Pictures(images, shown, seed=1)
    assert torch.equal(pictures[index][0], pictures[index][0])
    assert not torch.equal(pictures[index][0], pictures[again][0])
    assert not torch.equal(pictures[index][0], Pictures(images, shown, seed=2)[index][0])
    assert np.isfinite(pictures[index][0].numpy()).all()
    centre = pipeline(24, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert torch.equal(Pictures(images, centre, seed=1)[index][0], Pictures(images, centre, seed=2)[again][0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": ""}, "error: --data is needed"),
        ({"classes": 11}, "classes have two pictures or more, but a batch takes 11"),
        ({"labels": "", "positives": "argmax"}, "error: --positives argmax needs the label store of .*: --labels"),
        ({"pooling": "mean", "label_pooling": ""}, "--label-pooling needs the label store of .*--val-labels"),
        ({"model": "no_such_model"}, "error: timm cannot make no_such_model"),
        ({"model": "test_resnet"}, "error: ResNet has no class token"),
        ({"device": "mps"}, "error: --device mps cannot be used"),
        ({"initial": "nowhere.pt"}, "error: nowhere.pt has no weights of test_vit: there is no such file"),
        (
            {"model": "lvvit_t", "img_size": 40, "resize": 40},
            "lvvit_t cannot be made with --img-size 40: 40x40 pixels ca",
        ),
    ],
)
@pytest.mark.usefixtures("single_threaded")
def test_what_is_wrong_ends_it_with_a_line(settings: dict[str, Any], changed: dict[str, Any], message: str) -> None:
    given = words({**settings, **changed})
    if "label_pooling" in changed:
        at = given.index("--label-pooling")
        given = [*given[: at + 1], *given[at + 2 :], "--labels", ""]
    with pytest.raises(SystemExit, match=message):
        main(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--classes", "1"], "classes must be from 2"),
        (["--each", "1"], "each must be from 2"),
        (["--pooling", "avg"], "pooling must be one of token, mean, max, gem, not 'avg'"),
        (["--img-size", "300"], "resize must be at least img_size, 300, not 256"),
        (["--label-pooling"], "label_pooling weighs tokens of pooling mean or gem, not token"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_settings_out_of_range_are_named(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        RetrievalSettings.from_arguments(given)
    assert message in capsys.readouterr().err


def test_files_of_settings_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.toml"
    for text, message in (("koleos = 1\n", "'koleos', which is not a setting"), ("steps = 1.5\n", "of the type int")):
        file.write_text(text)
        with pytest.raises(SystemExit):
            RetrievalSettings.from_arguments(["--config", str(file)])
        assert message in capsys.readouterr().err
