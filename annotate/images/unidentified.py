"""Why can PIL not open a file as a picture? What the file says that it is, and what PIL's reader of that kind says."""

from __future__ import annotations

import io

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_KINDS = ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "AVIF")  # others recognise files by too little
_BITS, _FORMAT, _FLOATS = 258, 339, 3  # tags of TIFF, and a value of the second
_STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS in place of the picture; fetch it with `git lfs pull`",
    b"%PDF-": "a PDF document; convert it to PNG",
    b"\0\0\0\x0cJXL ": "a JPEG XL, which Pillow cannot read; convert it to PNG",
    b"\xff\x0a": "a JPEG XL, which Pillow cannot read; convert it to PNG",
}


def why_unidentified(data: bytes) -> str:
    """The reason why PIL opens no picture in these bytes."""
    for start, reason in _STARTS.items():
        if data.startswith(start):
            return reason
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1"):
        return "an HEIC picture, which Pillow cannot read; convert it to JPEG or PNG"
    for kind in _KINDS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        accepted = accept is not None and accept(data[:16])
        if isinstance(accepted, str):  # PIL was built without what reads it
            return accepted
        if accepted and factory is not None:
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:  # of many types, as in `decode`
                return f"a {kind} that Pillow cannot open: {error or type(error).__name__}{_about(kind, data)}"
    return "not a picture of a known type"


def _about(kind: str, data: bytes) -> str:
    """The type of a TIFF's values, which PIL's message leaves out."""
    if kind != "TIFF":
        return ""
    try:
        file = io.BytesIO(data)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bits, floats = tags[_BITS], _FLOATS in tags.get(_FORMAT, ())
    except Exception:  # its directory is damaged, and then PIL's message is about that
        return ""
    return f"; it has {len(bits)} channel{'s' * (len(bits) > 1)} of {max(bits)} bits{', floats' * floats}"
