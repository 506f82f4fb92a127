"""Can each part of the stem be left out, and is what remains what it says?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import PatchEmbed
from torch import nn
from torch.nn.functional import batch_norm, conv2d

from tokenlabel.models import ConvStem, LVViT

SETTINGS: dict[str, dict[str, Any]] = {
    "patchify": {"strides": ()},
    "conv": {"norm": False, "relu": False},
    "conv+ReLU": {"norm": False},
    "conv+BN": {"relu": False},
    "conv+BN+ReLU": {},
}


def stem(**options: Any) -> ConvStem:
    torch.manual_seed(0)
    return ConvStem(**{"img_size": (32, 48), "embed_dim": 6, "hidden": 4, **options}).double()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("strides", [(2, 1, 1), (2, 2, 2), (4, 1)])
def test_each_setting_is_these_operations_and_no_others(setting: str, strides: tuple[int, ...]) -> None:
    options = {"strides": strides, **SETTINGS[setting]}
    module, pixels = stem(**options), torch.randn(2, 3, 32, 48, dtype=torch.float64)
    weights = dict(module.state_dict())
    x, reduction = pixels, 1
    for number, stride in enumerate(options["strides"], 1):
        bias = weights.pop(f"conv{number}.bias", None)
        assert (bias is None) == options.get("norm", True)
        x = conv2d(x, weights.pop(f"conv{number}.weight"), bias, stride, padding=3 if number == 1 else 1)
        if options.get("norm", True):
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                del weights[f"bn{number}.{name}"]
            x = batch_norm(x, None, None, training=True)
        if options.get("relu", True):
            x = x.clamp(min=0)
        reduction *= stride
    side = 16 // reduction
    expected = conv2d(x, weights.pop("proj.weight"), weights.pop("proj.bias"), side)
    assert not weights
    assert torch.allclose(module.train()(pixels), expected, atol=1e-10)
    assert expected.shape == (2, 6, 2, 3)


def test_each_convolution_has_switches_of_its_own() -> None:
    module = stem(norm=(True, False, True), relu=(False, True, False))
    norms = [isinstance(module.get_submodule(f"bn{n}"), nn.BatchNorm2d) for n in (1, 2, 3)]
    assert norms == [True, False, True]
    module.proj = nn.Identity()
    with_last, without = module.eval(), stem(norm=(True, False, True), relu=(False, True, True)).eval()
    without.proj = nn.Identity()
    pixels = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    assert torch.equal(with_last(pixels).relu(), without(pixels))
    assert not torch.equal(with_last(pixels), without(pixels))


def test_plain_patches_are_timms() -> None:
    module = stem(strides=())
    theirs = PatchEmbed((32, 48), 16, 3, 6, flatten=False).double()
    theirs.load_state_dict(module.state_dict())
    pixels = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    assert torch.equal(module(pixels), theirs(pixels))


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_student_with_any_stem_takes_a_step(setting: str) -> None:
    options = {f"stem_{name}": value for name, value in SETTINGS[setting].items()}
    model = LVViT(5, img_size=(32, 48), embed_dim=24, depth=1, num_heads=2, stem_dim=4, **options)
    picture, tokens = model(torch.randn(2, 3, 32, 48))
    (picture.square().sum() + tokens.square().sum()).backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_switches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"strides \(3, 2\) must .*: the patch must be a multiple of 6, not 16"):
        stem(strides=(3, 2))
    with pytest.raises(ValueError, match="at least 1"):
        stem(strides=(0, 2))
    with pytest.raises(ValueError, match=r"relu must be one answer, or one for each of the 3 convolutions, not \(T"):
        stem(relu=(True, False))
