"""Are a processor's settings followed where they are less usual?"""

from __future__ import annotations

from typing import Any

import pytest

from annotate.errors import AnnotateError
from annotate.model.elsewhere.hf_processor import input_of

SETTINGS: dict[str, Any] = {
    "size": {"height": 32, "width": 48},
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "resample": 2,
}


def test_size_mean_std_and_filter_are_the_processors_and_what_is_given_goes_before_them() -> None:
    own = {"input_size": (32, 48), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear"}
    assert input_of(SETTINGS, "hf:vit") == own
    given: dict[str, Any] = {
        "input_size": (16, 24),
        "mean": (0.5, 0.4, 0.3),
        "std": (0.1, 0.1, 0.2),
        "interpolation": "nearest",
    }
    assert input_of(SETTINGS, "hf:vit", **given) == given


def test_a_processor_that_does_not_normalise_has_mean_0_and_std_1() -> None:
    found = input_of(SETTINGS | {"do_normalize": False}, "hf:vit")
    assert (found["mean"], found["std"]) == ((0, 0, 0), (1, 1, 1))


def test_convnexts_processor_crops_below_384_pixels_and_not_from_there_on() -> None:
    settings = SETTINGS | {"crop_pct": 0.875}
    with pytest.raises(AnnotateError, match="crops the middle 224x224.* Give --input-size 224x224"):
        input_of(settings | {"size": {"shortest_edge": 224}}, "hf:convnext")
    assert input_of(settings | {"size": {"shortest_edge": 384}}, "hf:convnext")["input_size"] == (384, 384)
