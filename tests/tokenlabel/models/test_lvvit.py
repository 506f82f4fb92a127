"""Is the student the paper's, and does timm treat it as one of its own?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn
from torch.nn.functional import interpolate

from tokenlabel import Mixer
from tokenlabel.models import LVViT
from tokenlabel.models.lvvit import Block

TINY: dict[str, Any] = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2, "stem_dim": 8}


def tiny(size: int | tuple[int, int] = (32, 64), **changes: Any) -> LVViT:
    return LVViT(7, **{"img_size": size, **TINY, **changes})


def test_weights_have_the_published_names() -> None:
    found = set(tiny(depth=1).state_dict())
    pairs = [*(f"patch_embed.bn{n}" for n in (1, 2, 3)), "patch_embed.proj", "norm", "head", "aux_head"]
    pairs += [f"blocks.0.{name}" for name in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2")]
    running = ("running_mean", "running_var", "num_batches_tracked")
    assert found == {
        "cls_token",
        "pos_embed",
        "blocks.0.attn.qkv.weight",
        *(f"patch_embed.conv{n}.weight" for n in (1, 2, 3)),
        *(f"{pair}.{part}" for pair in pairs for part in ("weight", "bias")),
        *(f"patch_embed.bn{n}.{part}" for n in (1, 2, 3) for part in running),
    }


def test_the_forward_pass_of_one_block_by_hand() -> None:
    """Every weight is set so that the answer can be written down, and nothing but λ, ½ and the order of parts is left.

    The stem gives each token twice the brightness of its patch, along one axis of four. The block's attention has no
    queries, so that it averages its normed values; its MLP gives a constant.
    """
    model = LVViT(
        2, img_size=(4, 8), in_chans=1, patch_size=4, embed_dim=4, depth=1, num_heads=2, stem_dim=1, residual_divisor=4
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for conv, weight in (("conv1", 1.0), ("conv2", 1.0), ("conv3", 2.0)):
            kernel = getattr(model.patch_embed, conv).weight
            kernel[0, 0, kernel.shape[2] // 2, kernel.shape[3] // 2] = weight
        for norm in (model.patch_embed.bn1, model.patch_embed.bn2, model.patch_embed.bn3):
            norm.weight.fill_(math.sqrt(1 + norm.eps))  # its running variance is 1
        model.patch_embed.proj.weight[0] = 0.25  # the mean of 2x2 pixels, on the first of four axes
        model.cls_token[0, 0, 1] = 3.0
        model.pos_embed[0, 1, 2] = 1.0  # of the first token
        block = model.blocks[0]
        for norm in (block.norm1, block.norm2, model.norm):
            norm.weight.fill_(1.0)
        block.attn.qkv.weight[8:] = torch.eye(4)
        block.attn.proj.weight.copy_(torch.eye(4))
        block.mlp.fc2.bias.copy_(torch.tensor([0.0, 4.0, 0.0, 8.0]))
        model.head.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
        model.aux_head.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]))
        model.aux_head.bias.copy_(torch.tensor([0.0, 0.5]))
    pixels = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    pixels[..., 4:] = 1.0
    pixels[..., :4] = -1.0  # cut off by the ReLU

    def normed(x: list[float]) -> list[float]:
        mean = sum(x) / 4
        scale = math.sqrt(sum((value - mean) ** 2 for value in x) / 4 + 1e-5)
        return [(value - mean) / scale for value in x]

    tokens = [[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [2.0, 0.0, 0.0, 0.0]]  # class, dark with position, bright
    mean = [sum(axis) / 3 for axis in zip(*map(normed, tokens), strict=True)]
    constant = [0.0, 4.0, 0.0, 8.0]
    last = [
        normed([x + m / 4 + c / 4 for x, m, c in zip(token, mean, constant, strict=True)])
        for token in tokens
    ]  # fmt: skip
    of_tokens = [[token[0], token[3] + 0.5] for token in last[1:]]
    picture = [last[0][0], last[0][1]]
    both = model.eval().logits(pixels)
    assert torch.allclose(both[0], torch.tensor([picture], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(both[1], torch.tensor([of_tokens], dtype=torch.float64), atol=1e-12)
    expected = [logit + 0.5 * max(column) for logit, column in zip(picture, zip(*of_tokens, strict=True), strict=True)]
    assert torch.allclose(model(pixels), torch.tensor([expected], dtype=torch.float64), atol=1e-12)


def test_a_block_that_divides_by_one_is_timms() -> None:
    kwargs: dict[str, Any] = {"dim": 24, "num_heads": 3, "mlp_ratio": 3.0, "norm_layer": nn.LayerNorm}
    ours, theirs = Block(residual_divisor=1.0, **kwargs).double(), TimmBlock(**kwargs).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    assert torch.equal(ours(x), theirs(x))
    halved = Block(residual_divisor=2.0, **kwargs).double()
    halved.load_state_dict(ours.state_dict())
    middle = x + (theirs.attn(theirs.norm1(x))) / 2
    assert torch.allclose(halved(x), middle + theirs.mlp(theirs.norm2(middle)) / 2, atol=1e-14)


def test_tokens_come_row_by_row() -> None:
    """Before tokens are mixed, a change well inside one patch of the picture changes the token of that patch alone."""
    model = tiny(depth=0).eval()
    assert model.patch_embed.grid_size == (2, 4)
    pixels = torch.zeros(1, 3, 32, 64)
    changed = pixels.clone()
    changed[:, :, 23:25, 39:41] = 5  # row 1, column 2, further from its edges than the stem's convolutions reach
    difference = (model.logits(changed)[1] - model.logits(pixels)[1]).abs().sum(-1)[0]
    assert difference.nonzero().flatten().tolist() == [1 * 4 + 2]


def test_both_heads_learn() -> None:
    model = tiny()
    picture, tokens = model(torch.randn(2, 3, 32, 64))
    assert (picture.shape, tokens.shape) == ((2, 7), (2, 8, 7))
    (picture.sum() + tokens.sum()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_mixtoken_swaps_tokens_inside_and_gives_their_answers_back() -> None:
    """Without blocks tokens depend only on themselves, so that swapping and restoring changes nothing but positions."""
    model = tiny(depth=0).eval()
    with torch.no_grad():
        model.pos_embed.zero_()
    pixels = torch.randn(4, 3, 32, 64)
    mixer = Mixer((2, 4), 7, mixup=0, cutmix=0, mixtoken=1.0, seed=1)
    mixes = [mixer.draw(4, (32, 64), epoch=0, index=index) for index in range(20)]
    mix = next(mix for mix in mixes if 0 < float(mix.fractions[0, 0]) < 1)
    assert torch.allclose(model.logits(pixels, mix)[1], model.logits(pixels)[1], atol=1e-6)
    deep = tiny().eval()
    assert not torch.allclose(deep.logits(pixels, mix)[0], deep.logits(pixels)[0], atol=1e-6)
    assert not torch.allclose(deep.logits(pixels, mix)[1], deep.logits(pixels)[1], atol=1e-6)


def test_the_answer_is_the_pictures_and_half_of_the_best_tokens() -> None:
    model, pixels = tiny().eval(), torch.randn(2, 3, 32, 64)
    picture, tokens = model.logits(pixels)
    answer = model(pixels)
    assert torch.allclose(answer, picture + 0.5 * tokens.max(1).values)
    assert torch.equal(answer, model.forward_head(model.forward_features(pixels)))


def test_timm_can_take_the_heads_off_and_put_others_on() -> None:
    model = timm.create_model("lvvit_t", num_classes=0, img_size=32, depth=1).eval()
    pixels = torch.randn(2, 3, 32, 32)
    features = model.forward_features(pixels)
    assert (features.shape, model(pixels).shape) == ((2, 5, 240), (2, 240))
    assert torch.equal(model(pixels), features[:, 0])
    assert torch.equal(model.train().forward_head(features), features[:, 0])
    model.reset_classifier(3)
    assert [head.weight.std() < 0.03 for head in model.get_classifier()] == [True, True]
    assert [logits.shape for logits in model(pixels)] == [(2, 3), (2, 4, 3)]
    assert model.eval().forward_head(features, pre_logits=True).shape == (2, 240)
    model.reset_classifier(0, "")
    assert model(pixels).shape == (2, 5, 240)
    for refused in (lambda: model.reset_classifier(3, "avg"), lambda: LVViT(global_pool="avg")):
        with pytest.raises(ValueError, match='global_pool must be "token" or ""'):
            refused()


def test_timm_reads_maps_between_blocks() -> None:
    model = timm.create_model("lvvit_t", features_only=True, out_indices=(0, 2), img_size=(32, 64), depth=3).eval()
    pixels = torch.randn(1, 3, 32, 64)
    maps = model(pixels)
    assert [part.shape for part in maps] == [(1, 240, 2, 4)] * 2
    assert model.feature_info.channels() == [240, 240]
    assert model.feature_info.reduction() == [16, 16]
    whole = timm.create_model("lvvit_t", img_size=(32, 64), depth=3).eval()
    last, (inner,) = whole.forward_intermediates(pixels, indices=1, norm=True)
    assert torch.allclose(inner.flatten(2).transpose(1, 2), last[:, 1:], atol=1e-6)
    assert torch.equal(last, whole.forward_features(pixels))


def test_recomputing_blocks_changes_no_gradient() -> None:
    model, pixels = tiny().double(), torch.randn(2, 3, 32, 64, dtype=torch.float64)
    gradients, calls = [], []
    model.blocks[0].mlp.register_forward_pre_hook(lambda *_: calls.append(len(gradients)))
    for recomputed in (False, True):
        model.set_grad_checkpointing(recomputed)
        model.zero_grad()
        picture, tokens = model(pixels)
        (picture.square().sum() + tokens.square().sum()).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert calls == [0, 1, 1]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_weights_without_decay_are_named() -> None:
    assert tiny().no_weight_decay() >= {"pos_embed", "cls_token"}


def test_it_compiles_without_a_break_and_exports() -> None:
    torch.compiler.reset()  # of what the same code was compiled for in other tests
    model, pixels = tiny(), torch.randn(2, 3, 32, 64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected, found = model.eval()(pixels), compiled.eval()(pixels)
    assert torch.allclose(found, expected, atol=1e-5)
    found = model.train()(pixels)
    again = torch.compile(model, fullgraph=True, backend="aot_eager")(pixels)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, again, strict=True))
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model.eval(), (pixels,), dynamic_shapes={"pixels": {0: batch}})
    more = torch.randn(5, 3, 32, 64)
    assert torch.allclose(exported.module()(more), model(more), atol=1e-5)


def test_weights_of_another_size_load_with_positions_as_pytorch_resamples_them(tmp_path: Path) -> None:
    small = timm.create_model("lvvit_t", img_size=64, depth=1, num_classes=5)
    positions = small.state_dict()["pos_embed"]
    as_map = positions[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    expected = interpolate(as_map, size=(6, 8), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    # As the authors saved them: of a wrapped model, beside its average.
    plain = {f"module.{name}": value for name, value in small.state_dict().items()}
    zeros = {name: torch.zeros_like(value) for name, value in plain.items()}
    torch.save({"state_dict": zeros, "state_dict_ema": plain}, tmp_path / "small.pth.tar")
    size = {"img_size": (96, 128), "depth": 1, "num_classes": 5}
    loaded = timm.create_model("lvvit_t", checkpoint_path=str(tmp_path / "small.pth.tar"), **size)
    assert torch.allclose(loaded.pos_embed[:, 1:], expected, atol=1e-6)
    assert torch.equal(loaded.pos_embed[:, :1], positions[:, :1])
    small.set_input_size((96, 128))
    assert torch.equal(small.pos_embed, loaded.pos_embed)
    dynamic = timm.create_model("lvvit_t", img_size=64, depth=1, num_classes=5, dynamic_img_size=True).eval()
    dynamic.load_state_dict({**loaded.state_dict(), "pos_embed": positions})
    pixels = torch.randn(1, 3, 96, 128)
    assert torch.allclose(dynamic(pixels), loaded.eval()(pixels), atol=1e-5)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="100x100 pixels cannot be divided into patches of 16; give a size"):
        LVViT(img_size=(100, 100))
    with pytest.raises(ValueError, match=r"strides \(2, 1, 1\) must .*: the patch must be a multiple of 2, not 7"):
        LVViT(img_size=70, patch_size=7)
    model = tiny()
    with pytest.raises(ValueError, match=r"64x64 pixels were given to a model for 32x64; make it with img_size=\(64, "):
        model(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="made for patches of 16 pixels, and has no weights for others"):
        model.set_input_size(patch_size=8)
    with pytest.raises(ValueError, match="40x64 pixels cannot be divided into patches"):
        model.set_input_size((40, 64))
    dynamic = tiny(dynamic_img_size=True).eval()
    assert dynamic(torch.zeros(1, 3, 48, 16)).shape == (1, 7)
    with pytest.raises(ValueError, match="50x16 pixels cannot be divided into patches"):
        dynamic(torch.zeros(1, 3, 50, 16))
    with pytest.raises(RuntimeError, match="size mismatch for pos_embed"):  # eight tokens form no square
        tiny((64, 64)).load_state_dict(dict(model.state_dict()))


def test_weights_are_drawn_as_the_papers() -> None:
    model = LVViT(1000, depth=1)
    for weights in (model.head.weight, model.aux_head.weight, model.blocks[0].mlp.fc1.weight, model.pos_embed):
        assert 0.019 < float(weights.detach().std()) < 0.021
    assert not any(float(bias.detach().abs().max()) for bias in (model.head.bias, model.aux_head.bias))
    assert 0.015 < float(model.cls_token.detach().std()) < 0.025
    before = model.patch_embed.conv1.weight.clone()
    model.init_weights()
    assert not torch.equal(before, model.patch_embed.conv1.weight)
