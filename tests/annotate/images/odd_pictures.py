"""Which files do collections hold besides plain pictures? One of each kind, made here, with what becomes of it.

All of them show one scene where they show anything. The names are those of the table in docs/pictures.md.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from storage import Status

COLOURS = ((230, 20, 30), (20, 200, 40), (30, 40, 220), (240, 220, 30))
SCENE = np.array(COLOURS, np.uint8).reshape(2, 2, 3).repeat(16, 0).repeat(32, 1)  # four quadrants, 32 x 64
Image.init()
READS_AVIF = "AVIF" in Image.OPEN  # Pillow 11.3 and later
GREY = np.asarray(Image.fromarray(SCENE).convert("L"))


@dataclass(frozen=True)
class OddPicture:
    """A file, what becomes of it, and what it shows: uint8 [H, W, 3], up to a mean error in grey levels."""

    data: bytes
    status: Status = Status.LABELLED
    shows: NDArray[np.uint8] | None = None
    error: float = 0.0


def encoded(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file of one of PIL's kinds."""
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **options)
    return out.getvalue()


def png(pixels: NDArray[np.unsignedinteger], *, size: tuple[int, int] | None = None) -> bytes:
    """A PNG of any depth, written byte by byte; PIL writes none of 16-bit colour. The header may lie about the size."""
    height, width = size or pixels.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def tiff(pixels: NDArray[np.generic], *, white_is_zero: bool = False, planes: bool = False, bits: int = 0) -> bytes:
    """A TIFF of any type of values, written byte by byte; PIL writes few of them.

    `bits` is the depth of the values where they are packed: `pixels` are the bytes then, [H, bytes of a row].
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    body = (np.moveaxis(pixels, 2, 0) if planes else pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    depth = bits or 8 * pixels.dtype.itemsize
    width = width * 8 // bits if bits else width
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    strips, size = (channels, len(body) // channels) if planes else (1, len(body))
    tags: dict[int, list[int]] = {256: [width], 257: [height], 258: [depth] * channels, 259: [1]}
    tags |= {262: [2 if channels == 3 else int(not white_is_zero)], 273: [8 + n * size for n in range(strips)]}
    tags |= {277: [channels], 278: [height], 279: [size] * strips, 284: [1 + planes], 339: [kind] * channels}
    start = 8 + len(body)
    entries, more = b"", b""
    for number, values in tags.items():
        data = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            data, more = struct.pack("<I", start + 2 + 12 * len(tags) + 4 + len(more)), more + data
        entries += struct.pack("<HHI", number, 4, len(values)) + data
    return b"II*\0" + struct.pack("<I", start) + body + struct.pack("<H", len(tags)) + entries + bytes(4) + more


def with_exif(jpeg: bytes, body: bytes, length: int | None = None) -> bytes:
    """The JPEG with an APP1 segment of this body, whose length is the true one or a lie."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", length or len(body) + 2) + body + jpeg[2:]


def orientation(value: int) -> Image.Exif:
    """EXIF that says this orientation, and nothing else."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with its one `old` replaced."""
    if data.count(old) != 1:
        raise ValueError(f"{old!r} occurs {data.count(old)} times, not once")
    return data.replace(old, new)


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(pixels[..., None], 3, -1)


def _packed(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Values of 12 bits, [H, W], two in three bytes: [H, 3 * W // 2]."""
    first, second = pixels[:, ::2], pixels[:, 1::2]
    parts = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    return parts.astype(np.uint8).reshape(len(pixels), -1)


def _animation(kind: str) -> bytes:
    others = [Image.new("RGB", SCENE.shape[1::-1], colour) for colour in ("black", "white")]
    return encoded(SCENE, kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {}))


def _ycck() -> bytes:
    """A CMYK JPEG whose first three colours are luma and chroma. PIL inverts what it writes, as Adobe does."""
    inverse = np.asarray(Image.fromarray(255 - SCENE).convert("YCbCr"))
    planes = np.concatenate([255 - inverse, np.zeros_like(inverse[..., :1])], -1)
    jpeg = encoded(
        Image.frombuffer("CMYK", SCENE.shape[1::-1], planes.tobytes(), "raw", "CMYK", 0, 1), "JPEG", quality=95
    )
    return patched(jpeg, b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")


_JPEG = encoded(SCENE, "JPEG", quality=95)
_PNG = encoded(SCENE, "PNG")
_EXIF = orientation(6).tobytes()  # begins with "Exif\0\0"
_GREY_SCENE = _grey(GREY)
_DEEP = (SCENE.astype(np.uint16) << 8) | 0xFF
_DEEP_GREY = GREY.astype(np.uint16) * 257
_PALETTE = Image.fromarray(SCENE).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
_FLOATS = (GREY / 255).astype(np.float32)
_HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"

ODD_PICTURES: dict[str, OddPicture] = {
    "plain JPEG": OddPicture(_JPEG, shows=SCENE, error=5),
    "grey JPEG": OddPicture(encoded(GREY, "JPEG", quality=95), shows=_GREY_SCENE, error=2),
    "progressive JPEG": OddPicture(encoded(SCENE, "JPEG", quality=95, progressive=True), shows=SCENE, error=5),
    "JPEG of rare sampling": OddPicture(
        simplejpeg.encode_jpeg(SCENE, 95, colorsubsampling="411"), shows=SCENE, error=5
    ),
    "JPEG in RGB": OddPicture(encoded(SCENE, "JPEG", quality=95, keep_rgb=True), shows=SCENE, error=2),
    "CMYK JPEG, inverted by Adobe": OddPicture(
        encoded(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=95), shows=SCENE, error=2
    ),
    "YCCK JPEG": OddPicture(_ycck(), shows=SCENE, error=5),
    "JPEG with trailing junk": OddPicture(_JPEG + b"\xff\xd8 junk", shows=SCENE, error=5),
    "JPEG with a second picture (MPO)": OddPicture(
        encoded(SCENE, "MPO", quality=95, save_all=True, append_images=[Image.fromarray(255 - SCENE)]),
        shows=SCENE,
        error=5,
    ),
    "EXIF orientation": OddPicture(with_exif(_JPEG, _EXIF), shows=SCENE, error=5),
    "EXIF of garbage": OddPicture(with_exif(_JPEG, b"Exif\0\0" + bytes(range(200))), shows=SCENE, error=5),
    "EXIF that is cut short": OddPicture(with_exif(_JPEG, _EXIF[:-8]), shows=SCENE, error=5),
    "EXIF longer than it says": OddPicture(with_exif(_JPEG, _EXIF, length=12), shows=SCENE, error=5),
    "EXIF longer than the file": OddPicture(with_exif(_JPEG, _EXIF, length=60_000), Status.UNDECODABLE),
    "PNG named .JPEG": OddPicture(_PNG, shows=SCENE),
    "grey of 16 bits": OddPicture(png(_DEEP_GREY), shows=_GREY_SCENE),
    "grey of 16 bits whose zero is white": OddPicture(tiff(65535 - _DEEP_GREY, white_is_zero=True), shows=_GREY_SCENE),
    "grey of 12 bits in a TIFF of 12": OddPicture(
        tiff(_packed((GREY * (4095 / 255)).astype(np.uint16)), bits=12), shows=_GREY_SCENE
    ),
    "grey of 12 bits in 16": OddPicture(png(GREY.astype(np.uint16) * 16), Status.REFUSED),
    "grey of floats": OddPicture(tiff(_FLOATS), Status.REFUSED),
    "grey of 32 bits": OddPicture(tiff(GREY.astype(np.uint32) << 24), Status.REFUSED),
    "grey with a sign": OddPicture(tiff(GREY.astype(np.int16)), Status.REFUSED),
    "colour of 16 bits": OddPicture(png(_DEEP), shows=SCENE),
    "colour of 12 bits in 16": OddPicture(png(SCENE.astype(np.uint16) * 16), Status.REFUSED),
    "colour of 16 bits in planes": OddPicture(tiff(_DEEP, planes=True), Status.REFUSED),
    "colour of floats": OddPicture(tiff((SCENE / 255).astype(np.float32)), Status.UNDECODABLE),
    "grey with transparency": OddPicture(encoded(Image.fromarray(SCENE).convert("LA"), "PNG"), shows=_GREY_SCENE),
    "colour with transparency": OddPicture(png(np.dstack([SCENE, GREY])), shows=SCENE),
    "palette with transparency": OddPicture(encoded(_PALETTE, "PNG", transparency=bytes([0, 99, 255, 0])), shows=SCENE),
    "one bit": OddPicture(encoded(GREY > 99, "PNG"), shows=_grey(np.where(GREY > 99, 255, 0).astype(np.uint8))),
    "animated GIF": OddPicture(_animation("GIF"), shows=SCENE),
    "animated WebP": OddPicture(_animation("WEBP"), shows=SCENE),
    "animated PNG": OddPicture(_animation("PNG"), shows=SCENE),
    "TIFF of many pages": OddPicture(_animation("TIFF"), shows=SCENE),
    "one pixel": OddPicture(png(SCENE[:1, :1]), shows=SCENE[:1, :1]),
    "empty file": OddPicture(b"", Status.UNDECODABLE),
    "web page named .jpg": OddPicture(_HTML, Status.UNDECODABLE),
    "JPEG cut short": OddPicture(_JPEG[:-20], Status.UNDECODABLE),
    "JPEG cut short in its header": OddPicture(_JPEG[:300], Status.UNDECODABLE),
    "PNG cut short": OddPicture(_PNG[: len(_PNG) // 2], Status.UNDECODABLE),
    "bomb": OddPicture(png(SCENE, size=(20_000, 20_000)), Status.REFUSED),
    "JPEG bomb": OddPicture(patched(_JPEG, b"\0\x20\0\x40\3", b"\xff\0\xff\0\3"), Status.REFUSED),
    "PostScript": OddPicture(encoded(SCENE, "EPS"), Status.REFUSED),
}
