"""Does a recorded picture know where PIL took its pixels from, and does it know when it does not?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.pil_recorder import RecordedPicture

Change = Callable[[Image.Image], Image.Image]


def coordinates(height: int, width: int) -> Image.Image:
    """A picture whose red is its y and whose green is its x, and whose blue says that it is the picture."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[..., 0] = np.rint((np.arange(height) + 0.5) / height * 255)[:, None]
    picture[..., 1] = np.rint((np.arange(width) + 0.5) / width * 255)[None]
    return Image.fromarray(picture)


def centres(height: int, width: int) -> np.ndarray:
    """The centres [H * W, 2] of all pixels."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def errors(shown: Image.Image, warp: Warp) -> np.ndarray:
    """By how much the colours of pixels inside differ from the points that the warp names, in unit coordinates."""
    pixels = np.asarray(shown.convert("RGB"), float).reshape(-1, 3) / 255
    places, inside = warp.trace_back(centres(shown.height, shown.width))
    assert (inside == (pixels[:, 2] > 0.5)).mean() > 0.98
    return np.abs(pixels[inside, :2] - places[inside])


MOVES: dict[str, Change] = {
    **{f"transpose {way.name}": lambda p, way=way: p.transpose(way) for way in Image.Transpose},
    **{f"rotate {angle}": lambda p, angle=angle: p.rotate(angle) for angle in (0, 180, 33.3, -7)},
    **{f"rotate {angle}, expand": lambda p, angle=angle: p.rotate(angle, expand=True) for angle in (90, 270, 20)},
    "rotate about a corner": lambda p: p.rotate(-12, Image.Resampling.BILINEAR, center=(5, 9), translate=(4, -3)),
    "crop": lambda p: p.crop((10, 7, 71, 90)),
    "crop at half pixels": lambda p: p.crop((10.5, 6.7, 71.2, 90.5)),
    "crop beyond": lambda p: p.crop((-10, 20, 140, 130)),
    "crop nothing": lambda p: p.crop(),
    "resize": lambda p: p.resize((50, 61)),
    "resize a box": lambda p: p.resize([40, 70], Image.Resampling.BILINEAR, (10.3, 2.5, 90.1, 60)),
    "resize with a gap": lambda p: p.resize((20, 20), Image.Resampling.BICUBIC, reducing_gap=1.5),
    "affine": lambda p: p.transform((80, 90), Image.Transform.AFFINE, (1.1, 0.2, -9, -0.1, 0.9, 5)),
    "extent": lambda p: p.transform((80, 90), Image.Transform.EXTENT, (-5, 10, 99.5, 70)),
    "perspective": lambda p: p.transform(
        (80, 90), Image.Transform.PERSPECTIVE, (1.3, 0.2, -9, 0.1, 1.2, 5, 0.002, -0.001), Image.Resampling.BICUBIC
    ),
    "with alpha": lambda p: (
        p.convert("RGBA")
        .resize((60, 70))
        .transform((60, 70), Image.Transform.AFFINE, (0.9, 0.1, 3, 0, 0.8, 5), Image.Resampling.BILINEAR)
        .rotate(10, Image.Resampling.BILINEAR)
        .convert("RGB")
    ),
    "one after the other": lambda p: (
        p.copy().resize((90, 80)).rotate(15, Image.Resampling.BILINEAR).crop((5, 5, 70, 77)).transpose(0).rotate(-8)
    ),
    "ImageOps": lambda p: ImageOps.flip(ImageOps.mirror(ImageOps.fit(ImageOps.scale(p, 1.2), (60, 60)))),
}


@pytest.mark.parametrize("name", MOVES)
def test_the_warp_names_the_point_that_each_pixel_shows(name: str) -> None:
    source = coordinates(96, 128)
    moved = MOVES[name](RecordedPicture(source, Warp()))
    assert isinstance(moved, RecordedPicture)
    assert moved.warp is not None
    assert moved.picture == MOVES[name](source)
    assert moved.picture.size == moved.size
    found = errors(moved.picture, moved.warp)
    assert found.mean() < 0.004
    assert np.quantile(found, 0.99) < 0.012  # half a pixel of the source and the quantisation


def test_a_crop_at_half_pixels_is_that_of_the_whole_pixels_that_pil_takes() -> None:
    crops = [
        RecordedPicture(coordinates(96, 128), Warp()).crop(box) for box in ((10.4, 6.5, 71.6, 90.5), (10, 6, 72, 90))
    ]
    assert crops[0] == crops[1]
    views = [crop.warp.view for crop in crops if isinstance(crop, RecordedPicture) and crop.warp]
    assert views[0] == views[1] is not None


def test_a_palette_and_shades_of_grey_are_moved_as_pil_moves_them() -> None:
    for source in (coordinates(40, 30).quantize(16), coordinates(40, 30).convert("L")):
        moved = RecordedPicture(source, Warp()).resize((20, 20)).rotate(10)
        assert isinstance(moved, RecordedPicture)
        assert moved.picture.convert("RGB") == source.resize((20, 20)).rotate(10).convert("RGB")


def pasted(picture: Image.Image) -> Image.Image:
    picture.paste((0, 0, 0), (5, 5, 20, 20))
    return picture


def drawn(picture: Image.Image) -> Image.Image:
    ImageDraw.Draw(picture).rectangle((5, 5, 20, 20), fill=0)
    return picture


def overwritten(picture: Image.Image) -> Image.Image:
    picture.frombytes(bytes(3 * picture.width * picture.height))
    return picture


def shrunk(picture: Image.Image) -> Image.Image:
    picture.thumbnail((20, 20))
    return picture


def rolled(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(picture), 5, 1))


UNKNOWN: dict[str, Change] = {
    "numpy": rolled,
    "paste": pasted,
    "draw": drawn,
    "draw, then crop": lambda p: drawn(p).crop((0, 0, 30, 30)),
    "frombytes": overwritten,
    "thumbnail": shrunk,
    "pad": lambda p: ImageOps.expand(p, 3),
    "offset": lambda p: ImageChops.offset(p, 5),
    "spread": lambda p: p.effect_spread(3),
    "filter": lambda p: p.filter(ImageFilter.BLUR),
    "blend": lambda p: Image.blend(p, p.rotate(90).resize(p.size), 0.5),
    "enhance": lambda p: ImageEnhance.Brightness(p).enhance(0.5),
    "quad": lambda p: p.transform((30, 30), Image.Transform.QUAD, (0, 0, 3, 40, 40, 44, 38, 2)),
    "mesh": lambda p: p.transform((30, 30), Image.Transform.MESH, [((0, 0, 30, 30), (0, 0, 3, 40, 40, 44, 38, 2))]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_it_cannot_know_it_says_nothing(name: str) -> None:
    result = UNKNOWN[name](RecordedPicture(coordinates(40, 50), Warp()))
    assert not isinstance(result, RecordedPicture) or result.warp is None


def test_the_picture_that_it_was_made_from_is_left_alone() -> None:
    source = coordinates(40, 50)
    drawn(pasted(overwritten(RecordedPicture(source, Warp()))))
    assert source == coordinates(40, 50)


def test_its_pixels_cannot_be_set_one_by_one() -> None:
    access = RecordedPicture(coordinates(40, 50), Warp()).load()
    assert access is not None
    with pytest.raises(ValueError, match="readonly"):
        access[3, 3] = (0, 0, 0)
