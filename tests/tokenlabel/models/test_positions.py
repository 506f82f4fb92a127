"""Are positions of another grid resampled when weights are loaded, also where the number of tokens is the same?"""

from __future__ import annotations

import io
import warnings

import pytest
import timm
import torch

from tokenlabel import with_token_head
from tokenlabel.models import LVViT


def student(rows: int, columns: int) -> LVViT:
    torch.manual_seed(rows)
    return LVViT(
        4, img_size=(8 * rows, 8 * columns), patch_size=8, embed_dim=32, depth=1, num_heads=2, stem_dim=8
    ).eval()


def saved(model: LVViT) -> dict[str, torch.Tensor]:
    """Its weights as they come back from a file."""
    file = io.BytesIO()
    torch.save({"state_dict": model.state_dict()}, file)
    file.seek(0)
    state: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize(("old", "new"), [((4, 9), (6, 6)), ((6, 6), (4, 9)), ((4, 9), (9, 4)), ((4, 9), (8, 8))])
def test_positions_of_another_grid_are_resampled_even_if_it_has_as_many_tokens(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    before, loaded, expected = student(*old), student(*new), student(*old)
    loaded.load_state_dict(saved(before))
    expected.load_state_dict(before.state_dict())
    expected.set_input_size((8 * new[0], 8 * new[1]))
    torch.testing.assert_close(loaded.pos_embed, expected.pos_embed)


def test_weights_that_do_not_say_their_grid_say_what_was_assumed() -> None:
    state = dict(student(4, 9).state_dict())  # a plain dict, as of an older file, has no metadata
    model = student(4, 9)
    with pytest.warns(UserWarning, match="which grid their 36 positions have: 4x9 was assumed"):
        model.load_state_dict(state)
    assert torch.equal(model.pos_embed, state["pos_embed"])


def test_published_weights_of_square_grids_load_without_a_word() -> None:
    state = dict(student(6, 6).state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        student(6, 6).load_state_dict(state)
        student(4, 4).load_state_dict(state)


def test_a_network_of_timms_refuses_as_many_positions_of_another_grid() -> None:
    def of_grid(rows: int, columns: int) -> torch.nn.Module:
        return with_token_head(timm.create_model("test_vit", num_classes=4, img_size=(16 * rows, 16 * columns)))

    state = of_grid(4, 9).state_dict()
    of_grid(4, 9).load_state_dict(state)
    with pytest.raises(RuntimeError, match="positions are of 4x9 tokens, as many as the 6x6 of this student"):
        of_grid(6, 6).load_state_dict(state)
    maps = with_token_head(timm.create_model("test_resnet", num_classes=4), img_size=(128, 288)).state_dict()
    with_token_head(timm.create_model("test_resnet", num_classes=4), img_size=192).load_state_dict(maps)
