"""Which input do the processor's settings ask for? Size, mean, std and filter; what would change pixels is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from annotate.errors import AnnotateError

# Settings do_… that are followed here, decide the size, or do nothing to a picture's pixels.
_KNOWN = {
    "do_resize",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
    "do_center_crop",
    "do_pad",
    "do_split_image",
    "do_reduce_labels",
    "do_convert_annotations",  # of a data set, for training
}
ANOTHER_SIZE = "Leave --input-size out, or give the size that its config.json names"
_WHOLE_FROM = 384  # pixels from which ConvNeXt's processor no longer crops


def does_not_answer(size: tuple[int, int], error: Exception) -> str:
    """What to say, after the name of a network, of the error that it raised on an input (height, width)."""
    why = f"{type(error).__name__}: {str(error).rstrip('.')}"
    return f"does not answer on a {size[0]}x{size[1]} input: {why}. {ANOTHER_SIZE}"


def input_of(
    settings: Mapping[str, Any],
    model: str,
    *,
    input_size: tuple[int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    interpolation: str | None = None,
) -> dict[str, Any]:
    """The fields input_size, mean, std and interpolation of a network; what is given goes before the settings.

    Raises:
        AnnotateError: the settings ask for what no input of one size shows, or change pixels in an unknown way.
    """
    strange = [name for name, value in settings.items() if name.startswith("do_") and value and name not in _KNOWN]
    if settings.get("do_rescale") is False or abs(255 * settings.get("rescale_factor", 1 / 255) - 1) > 1e-6:
        strange.append("rescale_factor")
    if settings.get("rescale_offset"):
        strange.append("rescale_offset")
    if strange:
        raise AnnotateError(
            f"the processor of {model} changes pixels in a way that is not known here: "
            f"{', '.join(f'{name} = {settings.get(name)}' for name in sorted(strange))}. Use it with --model "
            "MODULE:FUNCTION (docs/annotators.md)"
        )
    size = input_size or _size(settings, model)
    if not settings.get("do_normalize", True):
        mean, std = mean or (0.0,) * 3, std or (1.0,) * 3
    return {
        "input_size": size,
        "mean": tuple(map(float, mean or _three(settings, model, "mean"))),
        "std": tuple(map(float, std or _three(settings, model, "std"))),
        "interpolation": interpolation or _filter(settings, model),
    }


def _three(settings: Mapping[str, Any], model: str, name: str) -> tuple[float, ...]:
    values = settings.get(f"image_{name}")
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise AnnotateError(
            f"the processor of {model} has image_{name} = {values!r}; expected three numbers. Give --{name} R,G,B"
        )
    return tuple(values)


def _filter(settings: Mapping[str, Any], model: str) -> str:
    """The name of the filter that pictures are resized with; Pillow's number 3, bicubic, where none is said."""
    number = settings.get("resample")
    try:
        return Image.Resampling(3 if number is None else number).name.lower()
    except ValueError as error:
        raise AnnotateError(
            f"the processor of {model} has resample = {number!r}; expected the number of one of Pillow's filters, 0 to "
            "5. Give --interpolation NAME"
        ) from error


def _size(settings: Mapping[str, Any], model: str) -> tuple[int, int]:
    """Height and width that every picture is resized to."""
    size = settings.get("size") or {}
    short, side = size.get("shortest_edge"), settings.get("crop_size") or {}
    wanted = side.get("height"), side.get("width")
    if "crop_pct" in settings and short:
        if short >= _WHOLE_FROM:
            return int(short), int(short)
        why, wanted = f"resizes the shorter edge and crops the middle {short}x{short}", (short, short)
    elif settings.get("do_center_crop"):
        why = f"resizes pictures to {_words(size)} and crops the middle {_words(side)}"
    elif settings.get("do_split_image"):
        why, wanted = "cuts pictures into parts that overlap", (short, short)
    elif not settings.get("do_resize", True):
        why = "leaves pictures at their own size"
    elif size.get("height") and size.get("width") and not settings.get("keep_aspect_ratio"):
        return int(size["height"]), int(size["width"])
    elif short and size.get("longest_edge") == short and settings.get("do_pad"):
        return int(short), int(short)
    else:
        why, wanted = (
            f"keeps the aspect ratio of pictures ({_words(size)}), so that inputs differ in size",
            (short,) * 2,
        )
    example = f"--input-size {wanted[0]}x{wanted[1]}" if all(wanted) else "--input-size HxW"
    raise AnnotateError(
        f"the processor of {model} {why}, and a label map is of a whole input of one size. Give {example} to label "
        "whole pictures at that size, fitted as --preprocess says"
    )


def _words(size: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in size.items() if value) or "no size"
