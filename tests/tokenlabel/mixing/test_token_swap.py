"""Does MixToken compile to one graph for all batches, and mix as it does without?"""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tokenlabel import Mixer, TokenTargets, smooth_label, token_label_loss
from tokenlabel.models import LVViT

pytestmark = pytest.mark.usefixtures("single_threaded")
MIXER = Mixer((4, 6), 10, mixup=0, cutmix=0, mixtoken=1.0)


@pytest.mark.parametrize("times", [1, 2])
def test_a_swap_mixes_tokens_and_restores_logits_as_its_mix_does(times: int) -> None:
    for index in range(6):
        mix = MIXER.draw(5, (32, 48), epoch=0, index=index)
        swap = mix.swap()
        tokens, logits = torch.randn(5, 8, 4 * times, 6 * times), torch.randn(5, 24, 10)
        assert torch.equal(swap.tokens(tokens), mix.tokens(tokens))
        assert torch.equal(swap.restored(logits), mix.restored(logits))


def test_a_mix_of_pixels_swaps_no_tokens() -> None:
    tokens = torch.randn(4, 8, 4, 6)
    assert torch.equal(Mixer((4, 6), 10).draw(4, (32, 48), epoch=0, index=0).swap().tokens(tokens), tokens)


def test_fourteen_batches_share_one_graph() -> None:
    torch._dynamo.reset()
    model = LVViT(10, img_size=(32, 48), patch_size=8, embed_dim=32, depth=1, num_heads=2, stem_dim=8)
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter)
    pixels = torch.randn(4, 3, 32, 48)
    for index in range(14):
        compiled(pixels, MIXER.draw(4, (32, 48), epoch=0, index=index).swap())
    assert counter.frame_count == 1


@pytest.mark.parametrize("smooth", [False, True])
def test_fourteen_batches_share_one_graph_with_their_loss(smooth: bool) -> None:
    torch._dynamo.reset()
    model = LVViT(10, img_size=(32, 48), patch_size=8, embed_dim=32, depth=1, num_heads=2, stem_dim=8)
    counter, pixels, classes = CompileCounter(), torch.randn(4, 3, 32, 48), torch.arange(4)
    targets = TokenTargets(
        torch.ones(4, 25, 2).int(), torch.full((4, 25, 2), 0.4), torch.zeros(4, 25, dtype=torch.bool)
    )

    @torch.compile(backend=counter)
    def step(targets: TokenTargets, label: object, swap: object) -> torch.Tensor:
        return token_label_loss(*model(pixels, swap), targets, label=label)

    for index in range(14):
        mix = MIXER.draw(4, (32, 48), epoch=0, index=index)
        label = smooth_label(mix.label(classes), 0.1, class_count=10) if smooth else classes
        step(mix.targets(targets, class_count=10), label, mix.swap())
    assert counter.frame_count == 1
