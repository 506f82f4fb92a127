"""What does every student promise? One class of tests, which each of them passes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from storage import Box
from tokenlabel import Mix, token_label_loss
from tokenlabel.losses.token_label_loss import TokenTargets
from tokenlabel.mixing.mix import Part
from tokenlabel.models import Student, combined_logits

CLASSES = 7


class StudentPromises:
    """What holds for every network that becomes a student, however it is built."""

    @pytest.fixture
    def size(self) -> tuple[int, int]:
        """Height and width of its pictures: not equal, so that swapped axes would show."""
        raise NotImplementedError

    @pytest.fixture
    def student(self, size: tuple[int, int]) -> Any:
        """A new one for pictures of that size, whose both heads have random weights."""
        raise NotImplementedError

    @pytest.fixture
    def pixels(self, size: tuple[int, int]) -> torch.Tensor:
        return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))

    def test_training_gives_both_heads_and_evaluation_the_logits_to_classify_by(
        self, student: Any, pixels: torch.Tensor
    ) -> None:
        assert isinstance(student, Student)
        (rows, columns), classes = student.token_grid, student.num_classes
        assert (rows >= columns) if pixels.shape[2] >= pixels.shape[3] else (rows <= columns)
        picture, tokens = student.train()(pixels)
        assert (picture.shape, tokens.shape) == ((2, classes), (2, rows * columns, classes))
        with torch.inference_mode():
            picture, tokens = student.eval().logits(pixels)
            assert tokens.std(1).min() > 0, "all tokens are equal, so that this test shows nothing"
            answer = student(pixels)
            assert torch.allclose(answer, combined_logits(picture, tokens, student.token_share), atol=1e-4, rtol=1e-4)
            student.token_share = 0.0
            alone = student.forward_head(student.forward_features(pixels))
            assert torch.allclose(alone, picture, atol=1e-4, rtol=1e-4)

    def test_tokens_lie_on_the_grid_of_the_last_map(self, student: Any, pixels: torch.Tensor) -> None:
        try:
            _, maps = student.eval().forward_intermediates(pixels, indices=1)
        except AttributeError as error:
            assert "no attribute 'forward_intermediates'" in str(error)  # noqa: PT017 a few of timm's have none
        else:
            assert tuple(maps[-1].shape[-2:]) == student.token_grid

    def test_the_tokens_answers_are_given_back_to_their_own_pictures(self, student: Any, pixels: torch.Tensor) -> None:
        """Two pictures that swap all their tokens change places, and their tokens' answers come back."""
        swap = Mix((1, 0), (Part(Box.whole(), 1.0),) * 2, student.token_grid, "tokens")
        with torch.inference_mode():
            picture, tokens = student.eval().logits(pixels)
            mixed_picture, mixed_tokens = student.logits(pixels, swap)
        assert not torch.equal(picture[0], picture[1])
        assert not torch.equal(tokens[0], tokens[1])
        assert torch.allclose(mixed_picture, picture.flip(0), atol=1e-4, rtol=1e-4)
        assert torch.allclose(mixed_tokens, tokens, atol=1e-4, rtol=1e-4)

    def test_the_loss_reaches_the_head_for_tokens_and_more(self, student: Any, pixels: torch.Tensor) -> None:
        t = student.token_grid[0] * student.token_grid[1]
        targets = TokenTargets(torch.ones(2, 1 + t, 1).long(), torch.ones(2, 1 + t, 1), torch.zeros(2, 1 + t).bool())
        token_label_loss(*student.train()(pixels), targets).backward()
        of_tokens = {*student.get_classifier()[1].parameters()}
        reached = {weight for weight in student.parameters() if weight.grad is not None and weight.grad.any()}
        assert of_tokens < reached


class StudentContract(StudentPromises):
    """What holds for our own models, and for the most used networks with a head for tokens."""

    unused: ClassVar[set[str]] = set()  # parameters that are fixed

    def make(self, size: tuple[int, int]) -> Any:
        """A new student for pictures of this size."""
        raise NotImplementedError

    @pytest.fixture
    def size(self) -> tuple[int, int]:
        return 64, 96  # of which a network of stride 32 makes 2x3 tokens

    @pytest.fixture
    def student(self, size: tuple[int, int]) -> Any:
        torch.manual_seed(0)
        return self.make(size)

    def test_tokens_are_those_of_the_last_map_row_by_row(self, student: Any, pixels: torch.Tensor) -> None:
        _, (last,) = student.eval().forward_intermediates(pixels, indices=1, norm=True)
        assert tuple(last.shape[-2:]) == student.token_grid
        expected = student.get_classifier()[1](last.flatten(2).transpose(1, 2))
        assert torch.allclose(student.logits(pixels)[1], expected, atol=1e-4)

    def test_a_part_that_equal_pictures_swap_changes_nothing(self, student: Any, pixels: torch.Tensor) -> None:
        rows, columns = student.token_grid
        box = Box(0, 1 / columns if columns > 1 else 0, 1 / rows, 1)
        mix = Mix((1, 0), (Part(box, 1.0),) * 2, (rows, columns), "tokens")
        same = pixels[:1].expand(2, -1, -1, -1)
        pairs = zip(student.eval().logits(same, mix), student.logits(same), strict=True)
        assert all(torch.allclose(mixed, plain, atol=1e-5) for mixed, plain in pairs)
        # Of different pictures, only the part of the box has come from the other.
        assert not torch.allclose(student.logits(pixels, mix)[0], student.logits(pixels)[0], atol=1e-6)

    def test_every_weight_learns(self, student: Any, pixels: torch.Tensor) -> None:
        picture, tokens = student.train()(pixels)
        (picture.square().sum() + tokens.square().sum()).backward()
        assert {name for name, weight in student.named_parameters() if weight.grad is None} == self.unused

    def test_weights_come_back_from_a_file(self, student: Any, pixels: torch.Tensor, size: tuple[int, int]) -> None:
        other = self.make(size)
        assert not torch.equal(other.eval()(pixels), student.eval()(pixels))
        other.load_state_dict(student.state_dict())
        assert torch.equal(other.eval()(pixels), student.eval()(pixels))

    def test_other_sizes_have_other_grids(self, student: Any) -> None:
        larger = self.make((128, 96))
        rows, columns = larger.token_grid
        assert (rows, columns) == (student.token_grid[0] * 2, student.token_grid[1])
        assert larger.train()(torch.randn(2, 3, 128, 96))[1].shape == (2, rows * columns, CLASSES)

    def test_heads_can_be_changed(self, student: Any, pixels: torch.Tensor) -> None:
        student.reset_classifier(3)
        assert [logits.shape[-1] for logits in student.train()(pixels)] == [3, 3]
        assert student.eval()(pixels).shape == (2, 3)
        student.reset_classifier(0)
        assert student.train()(pixels).shape == (2, student.num_features)
        features = student.eval()(pixels)
        assert torch.equal(features, student.forward_head(student.forward_features(pixels), pre_logits=True))

    def test_recomputing_blocks_changes_no_gradient(self, student: Any, pixels: torch.Tensor) -> None:
        student, gradients = student.double().eval(), []
        for recomputed in (False, True):
            student.set_grad_checkpointing(recomputed)
            student.zero_grad()
            picture, tokens = student.logits(pixels.double())
            (picture.square().sum() + tokens.square().sum()).backward()
            gradients.append([weight.grad.clone() for weight in student.parameters() if weight.grad is not None])
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*gradients, strict=True))

    def test_it_compiles_without_a_break(self, student: Any, pixels: torch.Tensor) -> None:
        torch.compiler.reset()  # students share code, and compiling it for each of them would reach a limit
        compiled = torch.compile(student, fullgraph=True, backend="eager")  # it is Dynamo that finds a break
        assert torch.allclose(compiled.eval()(pixels), student.eval()(pixels), atol=1e-4)
        shapes = [logits.shape for logits in compiled.train()(pixels)]
        assert shapes == [logits.shape for logits in student.train()(pixels)]

    def test_it_exports_for_any_number_of_pictures(self, student: Any, pixels: torch.Tensor) -> None:
        batch = torch.export.Dim("batch", min=1, max=64)
        exported = torch.export.export(student.eval(), (pixels,), dynamic_shapes={"pixels": {0: batch}})
        more = torch.randn(5, *pixels.shape[1:])
        assert torch.allclose(exported.module()(more), student(more), atol=1e-4)

    @torch.inference_mode()
    def test_bfloat16_answers_much_the_same(self, student: Any, pixels: torch.Tensor) -> None:
        plain = torch.cat([logits.flatten() for logits in student.eval().logits(pixels)])
        with torch.autocast("cpu", torch.bfloat16):
            rough = torch.cat([logits.flatten() for logits in student.logits(pixels)]).float()
        assert 0 < float((rough - plain).norm() / plain.norm()) < 0.1
