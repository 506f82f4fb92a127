"""Are the sizes, the names of weights and the files those that were published?"""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import tokenlabel.models


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("lvvit_t", 224, 8_534_720),
        ("lvvit_s", 224, 26_151_824),
        ("lvvit_m", 224, 55_830_544),
        ("lvvit_l", 224, 150_021_968),
        ("lvvit_s", 384, 26_297_744),
        ("lvvit_m", 384, 56_025_104),
        ("lvvit_m", 448, 56_131_600),
        ("lvvit_l", 288, 150_120_272),
        ("lvvit_l", 448, 150_473_552),
        ("lvvit_l", 512, 150_657_872),
    ],
)
def test_sizes_are_the_published_ones(name: str, size: int, count: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, img_size=size)
    assert isinstance(model, tokenlabel.models.LVViT)
    assert sum(p.numel() for p in model.parameters()) == count


def test_pretrained_weights_are_taken_for_other_classes_and_channels(tmp_path: Path) -> None:
    """What timm does to a download: here of a file that stands in for it."""
    thousand = timm.create_model("lvvit_t", img_size=32, depth=1)
    torch.save(thousand.state_dict(), tmp_path / "weights.pth")
    file = {"file": str(tmp_path / "weights.pth")}
    settings = {"pretrained": True, "pretrained_cfg_overlay": file, "img_size": 32, "depth": 1}
    same = timm.create_model("lvvit_t", **settings)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), thousand.parameters(), strict=True))
    other = timm.create_model("lvvit_t", num_classes=3, in_chans=1, **settings).eval()
    assert torch.equal(other.blocks[0].attn.qkv.weight, thousand.blocks[0].attn.qkv.weight)
    assert other(torch.randn(1, 1, 32, 32)).shape == (1, 3)


def test_the_published_files_are_named() -> None:
    assert timm.get_pretrained_cfg("lvvit_l").input_size == (3, 224, 224)
    assert timm.get_pretrained_cfg("lvvit_s.in1k_384").input_size == (3, 384, 384)
    assert set(timm.list_models("lvvit*", pretrained=True)) == {
        "lvvit_s.in1k", "lvvit_s.in1k_384", "lvvit_m.in1k", "lvvit_m.in1k_384", "lvvit_l.in1k_448",
    }  # fmt: skip
