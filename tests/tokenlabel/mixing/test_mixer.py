"""Is each mix random as the papers say and the same each time, and what do other tools leave unmixed?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data import Mixup
from torchvision.transforms import v2

from storage import Box
from tests.tokenlabel.distributions import dense
from tokenlabel import LabelError, TokenTargets, token_label_loss
from tokenlabel.mixing.mix import Mix
from tokenlabel.mixing.mixer import Mixer

GRID, SIZE = (4, 4), (32, 48)


def mixer(**options: object) -> Mixer:
    return Mixer(GRID, 2, **options)


def draws(mixer: Mixer, count: int = 1000) -> list[Mix]:
    return [mixer.draw(6, SIZE, epoch=0, index=index) for index in range(count)]


def test_a_mix_is_a_function_of_seed_epoch_and_index() -> None:
    drawn = mixer(mode="element").draw(6, SIZE, epoch=2, index=5)
    assert mixer(mode="element").draw(6, SIZE, epoch=2, index=5) == drawn
    others = [(1, 2, 5), (0, 3, 5), (0, 2, 6)]
    for seed, epoch, index in others:
        assert mixer(mode="element", seed=seed).draw(6, SIZE, epoch=epoch, index=index) != drawn


@pytest.mark.parametrize("partners", ["reversed", "permuted"])
def test_a_batch_a_pair_or_an_element_has_its_own_draw(partners: str) -> None:
    for mode, different in (("batch", 1), ("pair", 3), ("element", 6)):
        mix = mixer(mode=mode, partners=partners, cutmix=0).draw(6, SIZE, epoch=0, index=0)
        assert len(set(mix.parts)) == different
        if mode == "pair":
            assert all(mix.parts[i] == mix.parts[j] for i, j in enumerate(mix.partners))


def test_partners_are_the_reversed_batch_or_random_pairs() -> None:
    assert mixer().draw(5, SIZE, epoch=0, index=0).partners == (4, 3, 2, 1, 0)
    drawn = {mix.partners for mix in draws(mixer(partners="permuted"), 200)}
    assert len(drawn) == 15  # all ways to pair six
    assert all(partners[j] == i for partners in drawn for i, j in enumerate(partners))


def test_mixup_blends_whole_pictures_by_one_less_a_beta() -> None:
    parts = [mix.parts[0] for mix in draws(mixer(mixup=0.8, cutmix=0))]
    weights = np.array([part.weight for part in parts])
    assert all(part.box == Box.whole() for part in parts)
    assert weights.mean() == pytest.approx(0.5, abs=0.03)
    assert weights.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.01)


def reached(size: tuple[int, int]) -> np.ndarray:
    """How probably a cut reaches each cell: over all λ, uniform as for α = 1, and over all centres."""
    found = []
    for side in np.sqrt(1 - (np.arange(500) + 0.5) / 500):
        along = []
        for cells in size:
            length, centre = int(cells * side), np.arange(cells)
            start = centre[:, None] - length // 2
            along.append(((start <= centre) & (centre < start + length)).mean(0))
        found.append(np.outer(*along))
    return np.mean(found, 0)


@pytest.mark.parametrize(("options", "size"), [({"cutmix": 1.0}, SIZE), ({"cutmix": 0, "mixtoken": 1.0}, GRID)])
def test_a_cut_is_a_box_of_whole_cells_about_any_of_them(options: dict[str, float], size: tuple[int, int]) -> None:
    drawn = draws(mixer(mixup=0, **options), 3000)
    parts = [mix.parts[0] for mix in drawn if mix.parts[0].weight]
    edges = np.array([part.box.edges for part in parts]) * [*size, *size]
    assert edges == pytest.approx(edges.round(), abs=1e-9)
    assert all(part.weight == 1 for part in parts)
    covered = np.zeros(size)
    for top, left, bottom, right in edges.round().astype(int):
        covered[top:bottom, left:right] += 1
    assert covered / len(drawn) == pytest.approx(reached(size), abs=0.04)
    # Where nothing was cut at the edges, a box has the picture's own shape.
    heights, widths = edges[:, 2] - edges[:, 0], edges[:, 3] - edges[:, 1]
    free = (edges[:, :2] > 0).all(1) & (edges[:, 2:] < size).all(1)
    assert np.abs(heights / size[0] - widths / size[1])[free].max() < 1 / min(size)


def test_each_kind_comes_as_often_as_it_should() -> None:
    kinds = {"nothing": 0, "mixup": 0, "cutmix": 0}
    for mix in draws(mixer(switch=0.25, probability=0.8, mode="element")):
        for box, weight in mix.parts:
            kinds["nothing" if not weight else "cutmix" if box != Box.whole() else "mixup"] += 1
    parts = {kind: number / 6000 for kind, number in kinds.items()}
    assert parts == pytest.approx({"nothing": 0.2, "mixup": 0.6, "cutmix": 0.2}, abs=0.02)


def test_options_out_of_range_or_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(LabelError, match=r"one of them above 0, not \(0, 0, 0.0\)"):
        mixer(mixup=0, cutmix=0)
    with pytest.raises(LabelError, match="switch and probability must be in"):
        mixer(probability=2)
    with pytest.raises(LabelError, match="give mixup=0 and cutmix=0 with it"):
        mixer(mixtoken=1)
    with pytest.raises(LabelError, match='its mode must be "batch" or "pair"'):
        mixer(mixup=0, cutmix=0, mixtoken=1, mode="element")


@pytest.fixture
def batch() -> tuple[torch.Tensor, TokenTargets, torch.Tensor]:
    """Pictures of nothing but their class, 0 or 1, which is what their pixels are; no partner has the same."""
    label = torch.tensor([0, 1, 1, 0, 0, 1])
    targets = TokenTargets(
        label.int()[:, None, None].expand(6, 17, 1), torch.ones(6, 17, 1), torch.zeros(6, 17, dtype=torch.bool)
    )
    return label.float()[:, None, None, None].expand(6, 3, 32, 32).clone(), targets, label


def shown(pixels: torch.Tensor) -> np.ndarray:
    """How much of class 1 is seen in each picture and in each token, [b, 17]."""
    tokens = pixels[:, 0].unflatten(2, (4, 8)).unflatten(1, (4, 8)).mean((2, 4)).flatten(1)
    return torch.cat([pixels[:, 0].mean((1, 2))[:, None], tokens], 1).numpy()


@pytest.mark.parametrize("mode", ["batch", "pair", "element"])
def test_what_is_seen_after_mixing_is_what_is_taught(
    batch: tuple[torch.Tensor, TokenTargets, torch.Tensor], mode: str
) -> None:
    for index in range(20):
        pixels, targets, label = mixer(mode=mode)(*batch, epoch=0, index=index)
        assert dense(targets, 2)[..., 1] == pytest.approx(shown(pixels), abs=1e-5)
        assert (label[0] * label[1]).sum(1).numpy() == pytest.approx(shown(pixels)[:, 0], abs=1e-5)
        token_label_loss(torch.zeros(6, 2), torch.zeros(6, 16, 2), targets, label=label)


def test_mixtoken_happens_inside_the_model(batch: tuple[torch.Tensor, TokenTargets, torch.Tensor]) -> None:
    """One training step of it: pixels and targets of tokens stay, the picture is taught both."""
    token_mixer = mixer(mixup=0, cutmix=0, mixtoken=1.0)
    pixels, targets, label = batch
    with pytest.raises(LabelError, match="draw the mix, and give it to the model too"):
        token_mixer(pixels, targets, label, epoch=0, index=0)
    mix = token_mixer.draw(6, (32, 32), epoch=0, index=0)
    inside = mix.tokens(torch.nn.functional.avg_pool2d(mix.pixels(pixels), 8))
    found = dense(mix.targets(targets, class_count=2), 2)
    assert found[:, 0, 1] == pytest.approx(inside[:, 0].mean((1, 2)).numpy(), abs=1e-6)
    assert 0 < found[0, 0, 1] < 1
    restored = mix.restored(inside.flatten(2).transpose(1, 2))
    assert found[:, 1:, 1] == pytest.approx(restored[..., 0].numpy(), abs=1e-6)


@pytest.mark.parametrize("kind", [v2.MixUp, v2.CutMix])
def test_torchvisions_mixing_leaves_the_targets_of_tokens_unmixed(
    batch: tuple[torch.Tensor, TokenTargets, torch.Tensor], kind: type[v2.Transform]
) -> None:
    """Beside the label they pass through unchanged; instead of the label they are refused."""
    torch.manual_seed(3)
    pixels, targets, label = batch
    tokens = torch.from_numpy(dense(targets, 2)).float()
    mixed, mixed_label, mixed_tokens = kind(num_classes=2)(pixels, label, tokens)
    assert not torch.equal(mixed, pixels)
    assert not torch.equal(mixed_label, torch.nn.functional.one_hot(label, 2).float())
    assert torch.equal(mixed_tokens, tokens)
    assert np.abs(mixed_tokens[..., 1].numpy() - shown(mixed)).max() > 0.1
    with pytest.raises(ValueError, match="but got a tensor of shape"):
        kind(num_classes=2)(pixels, tokens)


@pytest.mark.parametrize("alphas", [{"mixup_alpha": 1.0}, {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_timms_mixing_leaves_the_targets_of_tokens_unmixed(
    batch: tuple[torch.Tensor, TokenTargets, torch.Tensor], alphas: dict[str, float], mode: str
) -> None:
    """It takes one target, the label, and changes pixels in place; a dense one it refuses."""
    np.random.seed(0)
    pixels, targets, label = batch
    mixed, _ = Mixup(**alphas, mode=mode, num_classes=2, label_smoothing=0)(pixels.clone(), label)
    assert np.abs(dense(targets, 2)[..., 1] - shown(mixed)).max() > 0.1
    tokens = torch.from_numpy(dense(targets, 2)).float()
    with pytest.raises(ValueError, match="dense targets shaped"):
        Mixup(**alphas, mode=mode, num_classes=2, multi_label=True)(pixels.clone(), tokens)


@pytest.mark.parametrize("options", [{}, {"mixup": 0, "cutmix": 0, "mixtoken": 1}, {"mode": "element"}])
def test_of_no_pictures_nothing_is_mixed(options: dict) -> None:
    mix = Mixer((4, 4), 10, **options).draw(0, (32, 32), epoch=0, index=0)
    targets = TokenTargets(torch.zeros(0, 17, 3, dtype=torch.int32), torch.zeros(0, 17, 3), torch.zeros(0, 17) > 0)
    assert mix.pixels(torch.zeros(0, 3, 32, 32)).shape == (0, 3, 32, 32)
    assert mix.targets(targets, class_count=10).classes.shape == (0, 17, 6)
    assert mix.label(torch.zeros(0, dtype=torch.int64))[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": (8.5, 8)}, "tokens must be"),
        ({"class_count": 0}, "keep a number of classes"),
        ({"mode": "bogus"}, "mode must be one of"),
        ({"partners": "bogus"}, "partners one of"),
        ({"mixup": float("nan")}, "must be at least 0"),
    ],
)
def test_unknown_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        Mixer(**{"grid": GRID, "class_count": 2, **options})


def test_fewer_classes_than_the_targets_name_are_refused() -> None:
    targets = TokenTargets(torch.full((2, 17, 1), 7, dtype=torch.int32), torch.ones(2, 17, 1), torch.zeros(2, 17) > 0)
    with pytest.raises(LabelError, match="the targets name class 7, but class_count is 2"):
        mixer().draw(2, SIZE, epoch=0, index=0).targets(targets, class_count=2)
    with pytest.raises(LabelError, match="the targets name class 7"):
        targets.smoothed(0.1, class_count=2)
