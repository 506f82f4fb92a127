"""Is the student the paper's?"""

from __future__ import annotations

import pytest
import torch

from tokenlabel import Mixer
from tokenlabel.models import LVViT


def test_sizes_are_the_published_ones() -> None:
    """LV-ViT-S and -T at 224: 26,151,824 and 8,534,720 parameters."""
    assert sum(p.numel() for p in LVViT().parameters()) == 26_151_824
    tiny = LVViT(embed_dim=240, depth=12, num_heads=4, residual_divisor=1.0)
    assert sum(p.numel() for p in tiny.parameters()) == 8_534_720


def test_tokens_come_row_by_row() -> None:
    """Before tokens are mixed, a change well inside one place of the picture changes the token of that place alone."""
    model = LVViT(7, img_size=(32, 64), patch_size=16, embed_dim=24, depth=0, num_heads=2).eval()
    assert model.tokens == (2, 4)
    pixels = torch.zeros(1, 3, 32, 64)
    changed = pixels.clone()
    changed[:, :, 23:25, 39:41] = 5  # row 1, column 2, further from its edges than the stem's convolutions reach
    difference = (model(changed)[1] - model(pixels)[1]).abs().sum(-1)[0]
    assert difference.nonzero().flatten().tolist() == [1 * 4 + 2]


def test_both_heads_learn() -> None:
    model = LVViT(7, img_size=(32, 32), patch_size=16, embed_dim=24, depth=1, num_heads=2)
    picture, tokens = model(torch.randn(2, 3, 32, 32))
    assert (picture.shape, tokens.shape) == ((2, 7), (2, 4, 7))
    (picture.sum() + tokens.sum()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.predict(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_an_input_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a multiple of the patch"):
        LVViT(img_size=(100, 100))


def test_mixtoken_swaps_tokens_inside_and_gives_their_answers_back() -> None:
    """Without blocks tokens know only themselves, so that swapping them and giving back changes nothing but places."""
    model = LVViT(7, img_size=(32, 64), patch_size=16, embed_dim=24, depth=0, num_heads=2).eval()
    with torch.no_grad():
        model.pos_embed.zero_()
    pixels = torch.randn(4, 3, 32, 64)
    mixer = Mixer((2, 4), 7, mixup=0, cutmix=0, mixtoken=1.0, seed=1)
    mixes = [mixer.draw(4, (32, 64), epoch=0, index=index) for index in range(20)]
    mix = next(mix for mix in mixes if 0 < float(mix.shares[0, 0]) < 1)
    assert torch.allclose(model(pixels, mix)[1], model(pixels)[1], atol=1e-6)
    deep = LVViT(7, img_size=(32, 64), patch_size=16, embed_dim=24, depth=2, num_heads=2).eval()
    assert not torch.allclose(deep(pixels, mix)[0], deep(pixels)[0], atol=1e-6)
