"""Does DynamicViT drop the tokens that it should, and answer for the others as if they had always been alone?"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from storage import Box
from tests.tokenlabel.models.contract import CLASSES, StudentContract
from tokenlabel import Mix
from tokenlabel.losses.soft_cross_entropy import soft_cross_entropy
from tokenlabel.mixing.mix import Part
from tokenlabel.models import DynamicViT, LVViT, combined_logits, with_token_head
from tokenlabel.models.dynamic_vit import Pruned, distillation_loss, kept_token_loss, pruning_loss, ratio_loss
from tokenlabel.models.dynamic_vit.masked_attention import MaskedAttention
from tokenlabel.models.dynamic_vit.predictor import ScorePredictor
from tokenlabel.targets.token_targets import TokenTargets


def tiny(size: int | tuple[int, int] = (32, 64), **options: Any) -> DynamicViT:
    known = {"embed_dim": 24, "depth": 4, "num_heads": 2, "stem_dim": 8, "sites": (1, 2), "keep_ratio": 0.6}
    model = DynamicViT(CLASSES, img_size=size, **{**known, **options})
    for weight in model.score_predictor.parameters():  # so that tokens are told apart
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.5)
    return model


class TestDynamicViT(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return tiny(size)

    def test_training_gives_both_heads_and_evaluation_the_logits_to_classify_by(
        self, student: Any, pixels: torch.Tensor
    ) -> None:
        """As for all students, but only tokens that are left count in the answer."""
        picture, tokens = student.train()(pixels)
        assert (picture.shape, tokens.shape) == ((2, CLASSES), (2, 24, CLASSES))
        with torch.inference_mode():
            answer, whole = student.eval()(pixels), student.pruned(pixels)
            left = whole.tokens.masked_fill(whole.keep[-1][..., None] == 0, -torch.inf)
            assert torch.allclose(answer, combined_logits(whole.picture, left, 0.5), atol=1e-5)
            student.token_share = 0.0
            assert torch.allclose(student(pixels), whole.picture, atol=1e-5)

    def test_every_weight_learns(self, student: Any, pixels: torch.Tensor) -> None:
        """Predictors learn through the attention of the others, and by the loss of how many they keep."""
        found = student.train().pruned(pixels)
        (found.picture.square().sum() + found.tokens.square().sum()).backward()
        assert {name for name, weight in student.named_parameters() if weight.grad is None} == set()
        for predictor in student.score_predictor:
            assert all(weight.grad.any() for weight in predictor.parameters())


def test_masked_attention_is_attention_over_the_tokens_that_are_left() -> None:
    torch.manual_seed(0)
    attention, x = MaskedAttention(24, num_heads=3).double().eval(), torch.randn(2, 9, 24, dtype=torch.float64)
    keep = torch.tensor([[1, 1, 0, 1, 0, 0, 1, 1, 0], [1, 0, 0, 1, 1, 1, 0, 1, 1]], dtype=torch.float64)
    masked = attention(x, keep)
    for b in range(2):
        left = keep[b].bool()
        assert torch.allclose(masked[b, left], attention(x[b : b + 1, left])[0], atol=1e-5)
        for dropped in (~left).nonzero().flatten():  # it sees those that are left, and itself
            seen = left.clone()
            seen[dropped] = True
            alone = attention(x[b : b + 1, seen])[0, int(seen[:dropped].sum())]
            assert torch.allclose(masked[b, dropped], alone, atol=1e-5)
    assert torch.allclose(attention(x, torch.ones_like(keep)), attention(x), atol=1e-5)


@torch.inference_mode()
def test_tokens_that_are_gone_and_tokens_that_are_masked_give_the_same_answers() -> None:
    torch.manual_seed(0)
    model, pixels = tiny((64, 96)).double().eval(), torch.randn(3, 3, 64, 96, dtype=torch.float64)
    whole = model.pruned(pixels)
    features, positions = model.kept_features(pixels)
    assert torch.allclose(model.head(features[:, 0]), whole.picture, atol=1e-5)
    logits, kept = model.scattered(pixels)
    assert torch.equal(kept, whole.keep[-1].bool())
    assert torch.allclose(logits[kept], whole.tokens[kept], atol=1e-5)
    assert not logits[~kept].any()
    for b in range(3):  # each row of features is that of the position that it names, although they are sorted by score
        answers = model.aux_head(features[b, 1:])
        assert torch.allclose(answers, whole.tokens[b, positions[b]], atol=1e-5)
    assert (positions[:, 1:] < positions[:, :-1]).any()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("dynamicvit_lvvit_s_05", (98, 49, 24)),
        ("dynamicvit_lvvit_s_07", (137, 96, 67)),
        ("dynamicvit_deit_s_07", (137, 96, 67)),
    ],
)
def test_the_published_numbers_of_tokens_are_left_and_later_blocks_see_no_others(
    name: str, counts: tuple[int, ...]
) -> None:
    model = timm.create_model(name, num_classes=5).eval()
    assert model.kept_counts() == counts
    seen: list[int] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1] - 1))
    with torch.inference_mode():
        model(torch.randn(1, 3, 224, 224))
    expected = [196] * model.sites[0]
    for count, start, stop in zip(counts, model.sites, (*model.sites[1:], len(model.blocks)), strict=True):
        expected += [count] * (stop - start)
    assert seen == expected


def test_training_drops_at_random_and_never_takes_back() -> None:
    torch.manual_seed(0)
    model, pixels = tiny().train(), torch.randn(2, 3, 32, 64)
    first, second = (model.pruned(pixels).keep for _ in range(2))
    assert all(set(left.unique().tolist()) <= {0.0, 1.0} for left in first)
    assert (first[1] <= first[0]).all()
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("name", "count", "head"),
    [
        ("dynamicvit_lvvit_s_07", 26_875_574, True),
        ("dynamicvit_lvvit_m_07", 57_115_030, True),
        ("dynamicvit_deit_256_07", 10_304_942, False),
        ("dynamicvit_deit_s_07", 22_774_414, False),
        ("dynamicvit_deit_b_07", 89_452_846, False),
    ],
)
def test_a_size_has_the_published_number_of_weights(name: str, count: int, head: bool) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    counted = {part: weight.numel() for part, weight in model.named_parameters()}
    assert sum(size for part, size in counted.items() if head or not part.startswith("aux_head.")) == count


def test_weights_have_the_published_names_and_those_of_the_student_without_dropping_load() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 32, "embed_dim": 24, "depth": 4, "num_heads": 2, "stem_dim": 8}
    base = LVViT(CLASSES, **options).eval()
    model = tiny(32, keep_ratio=1.0).eval()
    layers = [f"in_conv.{n}" for n in (0, 1)] + [f"out_conv.{n}" for n in (0, 2, 4)]
    assert model.state_dict().keys() - base.state_dict().keys() == {
        f"score_predictor.{site}.{layer}.{part}" for site in (0, 1) for layer in layers for part in ("weight", "bias")
    }
    predictors = {name: value.clone() for name, value in model.score_predictor.state_dict().items()}
    model.load_state_dict(base.state_dict())
    assert all(torch.equal(value, predictors[name]) for name, value in model.score_predictor.state_dict().items())
    some = {name: value for name, value in model.state_dict().items() if not name.endswith("out_conv.4.bias")}
    with pytest.raises(RuntimeError, match="score_predictor.0.out_conv.4.bias"):  # those of another network
        model.load_state_dict(some)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(pixels), base(pixels), atol=1e-5)  # it keeps all tokens


def test_a_deit_keeps_its_answer() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 32, "depth": 2, "num_classes": 5}
    deit = timm.create_model("deit_small_patch16_224", **options).eval()
    assert isinstance(deit, VisionTransformer)
    model = timm.create_model("dynamicvit_deit_s_07", sites=(1,), keep_ratio=1.0, **options).eval()
    model.load_state_dict(deit.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(pixels), deit(pixels), atol=1e-5)


def test_weights_of_a_deit_that_learned_by_a_head_for_tokens_load() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"depth": 2, "num_classes": 5}
    deit = with_token_head(timm.create_model("deit_small_patch16_224", img_size=32, **options)).eval()
    nn.init.normal_(deit.aux_head.weight, std=0.1)
    model = timm.create_model("dynamicvit_deit_s_07", img_size=32, sites=(1,), keep_ratio=1.0, **options).eval()
    model.load_state_dict(deit.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(pixels), deit(pixels), atol=1e-5)
    larger = timm.create_model("dynamicvit_deit_s_07", img_size=64, sites=(1,), **options)
    larger.load_state_dict(deit.state_dict())
    assert torch.equal(larger.aux_head.weight, deit.aux_head.weight)


def test_choices_are_given_back_to_their_own_pictures() -> None:
    model, pixels = tiny().eval(), torch.randn(2, 3, 32, 64)
    swap = Mix((1, 0), (Part(Box.whole(), 1.0),) * 2, (2, 4), "tokens")
    plain, mixed = model.pruned(pixels), model.pruned(pixels, swap)
    assert all(torch.equal(a, b) for a, b in zip(plain.keep, mixed.keep, strict=True))
    assert not torch.equal(plain.keep[-1][0], plain.keep[-1][1])


def test_a_picture_without_tokens_gives_finite_scores() -> None:
    predictor, tokens = ScorePredictor(8), torch.randn(2, 5, 8)
    assert predictor(tokens, torch.zeros(2, 5)).isfinite().all()
    keep = torch.tensor([[1.0, 0, 0, 1, 0]] * 2)
    other = tokens.clone()
    other[:, 1] = 9.0  # a dropped token is in nobody's mean
    assert torch.equal(predictor(tokens, keep)[:, 0], predictor(other, keep)[:, 0])
    assert not torch.equal(predictor(tokens, torch.ones(2, 5))[:, 0], predictor(other, torch.ones(2, 5))[:, 0])


@torch.no_grad()
def test_losses_are_their_sums() -> None:
    torch.manual_seed(0)
    keep = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1]])
    found = Pruned(torch.randn(2, 3), torch.randn(2, 4, 3), (torch.ones(2, 4), keep))
    expected = (2 * (1 - 0.7) ** 2 + (0.5 - 0.49) ** 2 + (0.25 - 0.49) ** 2) / 4
    assert float(ratio_loss(found.keep, (0.7, 0.49))) == pytest.approx(expected)

    def divergence(student: torch.Tensor, teacher: torch.Tensor) -> float:
        p, q = teacher.softmax(-1), student.softmax(-1)
        return sum(float(p[c] * (p[c].log() - q[c].log())) for c in range(3))

    teacher = torch.randn(2, 3), torch.randn(2, 4, 3)
    pictures, tokens = distillation_loss(found, teacher)
    assert float(pictures) == pytest.approx(sum(divergence(found.picture[b], teacher[0][b]) for b in range(2)) / 2)
    where = [(0, 0), (0, 2), (1, 3)]
    assert float(tokens) == pytest.approx(sum(divergence(found.tokens[at], teacher[1][at]) for at in where) / 3)

    outside = torch.zeros(2, 5, dtype=torch.bool)
    outside[0, 3] = True  # token 2
    targets = TokenTargets(torch.randint(3, (2, 5, 1)), torch.full((2, 5, 1), 0.9), outside)
    each = soft_cross_entropy(found.tokens, targets.classes[:, 1:], targets.probabilities[:, 1:])
    assert float(kept_token_loss(found, targets)) == pytest.approx(float(each[0, 0] + each[1, 3]) / 2)
    nothing = found._replace(keep=(torch.zeros(2, 4),))
    assert float(kept_token_loss(nothing, targets)) == float(distillation_loss(nothing, teacher)[1]) == 0


@torch.no_grad()
def test_the_whole_loss_is_the_papers_and_ours() -> None:
    torch.manual_seed(0)
    keep = (torch.ones(2, 4), torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1]]))
    found, teacher = Pruned(torch.randn(2, 3), torch.randn(2, 4, 3), keep), (torch.randn(2, 3), torch.randn(2, 4, 3))
    targets = TokenTargets(torch.randint(3, (2, 5, 1)), torch.full((2, 5, 1), 0.9), torch.zeros(2, 5, dtype=torch.bool))
    label = torch.tensor([2, 0])
    of_class, of_keep = float(nn.functional.cross_entropy(found.picture, label)), float(ratio_loss(keep, (0.7, 0.49)))
    of_pictures, of_tokens = map(float, distillation_loss(found, teacher))
    paper = pruning_loss(found, (0.7, 0.49), targets, label=label, teacher=teacher, token_weight=0)
    assert float(paper) == pytest.approx(of_class + 2 * of_keep + 0.5 * of_pictures + 0.5 * of_tokens)
    ours = pruning_loss(found, (0.7, 0.49), targets, label=label, token_weight=0.25, keep_weight=5)
    assert float(ours) == pytest.approx(of_class + 5 * of_keep + 0.25 * float(kept_token_loss(found, targets)))


@torch.inference_mode()
def test_the_teacher_is_the_base_and_sees_the_mixed_pictures() -> None:
    torch.manual_seed(0)
    base = LVViT(CLASSES, img_size=32, embed_dim=24, depth=4, num_heads=2, stem_dim=8).eval()
    student = tiny(32).train()
    teacher = student.teacher()
    teacher.load_state_dict(base.state_dict())
    assert not any(module.training for module in teacher.modules())
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert len(student.score_predictor) == 2
    pixels, swap = torch.randn(2, 3, 32, 32), Mix((1, 0), (Part(Box(0, 0, 0.5, 1), 1.0),) * 2, (2, 2), "tokens")
    for mix in (None, swap):
        for ours, theirs in zip(teacher.logits(pixels, mix), base.logits(pixels, mix), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_ratios_and_sites_that_cannot_be_are_refused() -> None:
    for ratio in (0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match=r"keep_ratio is the fraction of tokens that are kept, in \(0, 1\], not"):
            tiny(keep_ratio=ratio)
    with pytest.raises(ValueError, match="keep_ratio 0.1 leaves none of 8 tokens after 2 sites; give a higher one"):
        tiny(keep_ratio=0.1)
    for sites in ((0, 2), (2, 1), (1, 4), (1, 1)):
        with pytest.raises(ValueError, match="sites must be blocks from 1 to 3, in ascending order, not"):
            tiny(sites=sites)
