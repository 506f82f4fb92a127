"""How does a browser show labels? By one file that loads nothing else: a gallery, pictures with labels, and figures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import numpy as np

from annotate.class_names import Names
from annotate.errors import PictureError
from annotate.images.source import Picture
from annotate.inspect.overlay import picture_of
from annotate.inspect.palette import colours_of, largest, shares
from annotate.inspect.statistics import describe, statistics
from annotate.inspect.survey import Survey, refuse_logits
from annotate.model.recipe import annotator_of
from storage import LabelMap, LabelStore, OnProgress, Progress
from storage.operations.progress import silent

_SIDE, _QUALITY = 480, 82  # pictures in the file: longer side in pixels, JPEG quality
_CLASSES, _MATRIX = 40, 12  # classes among the figures, and in the matrix


def report_page(
    store: LabelStore,
    found: Survey,
    rows: Sequence[int],
    read: Callable[[str], Picture] | None,
    *,
    names: Names | None = None,
    on_progress: OnProgress = silent,
) -> str:
    """The report as the text of one HTML file.

    Names and keys come from anywhere, so the page holds them as data: no part of them is run or read as HTML.

    Args:
        store: the labels.
        found: a survey of the store.
        rows: labelled rows, whose pictures are shown in this order.
        read: returns a picture by its key; without it the labels are shown without pictures.
        names: names of the classes; default: those of the store.
        on_progress: called after each picture.

    Raises:
        AnnotateError: the scores are logits.
    """
    refuse_logits(store)
    names = names or Names.of(store)
    labels = store.read(list(rows))
    with ThreadPoolExecutor() as pool:
        shown = []
        masses = [shares(labels[n]) for n in range(len(rows))]
        colours = colours_of(masses)
        for n, (image, why) in enumerate(
            pool.map(lambda row, n: _image(store, row, labels[n], read), rows, range(len(rows)))
        ):
            entry = _entry(store.keys[rows[n]], rows[n], labels[n], found, image, why)
            entry["largest"] = [[number, round(part, 4)] for number, part in largest(masses[n]).items()]
            entry["colours"] = colours[n]
            shown.append(entry)
            on_progress(Progress(n + 1, len(rows), sum(not picture["image"] for picture in shown)))
    seen = {*np.unique(labels.classes[labels.scores > 0]).tolist()}
    seen |= {p["own"] for p in shown if p["own"] is not None} | {p["best"] for p in shown}
    chosen = np.argsort(-found.locations, kind="stable")[:_CLASSES].tolist()
    matrix = _matrix(found)
    seen |= {*chosen, *(matrix["classes"] if matrix else ())}
    figures = statistics(store, found, names)
    pending = figures.unlabelled.get("pending", 0)
    locations = max(int(found.locations.sum()), 1)
    data: dict[str, Any] = {
        "title": f"Labels of {annotator_of(store.schema.recipe)}",
        "about": f"{len(rows):,} of {figures.labelled:,} labelled pictures; each has {store.schema.grid[0]} × "
        f"{store.schema.grid[1]} locations with the {store.schema.k} best of {store.schema.class_count:,} classes",
        "unfinished": f"unfinished: {pending:,} pictures are not labelled yet" if pending else "",
        "grid": list(store.schema.grid),
        "k": store.schema.k,
        "names": {number: names[number] for number in sorted(seen)},
        "filter_classes": sorted({p["best"] for p in shown} | {p["own"] for p in shown if p["own"] is not None}),
        "pictures": shown,
        "statistics": {
            "text": [[line[:11].strip(), line[11:].strip()] for line in describe(store, figures).splitlines()
                     if "█" not in line],
            "confidences": found.confidences.tolist(),
            "entropies": found.entropies.tolist(),
            "most_entropy": float(np.log(store.schema.class_count)),
            "classes": [[n, float(found.locations[n]) / locations] for n in chosen if found.locations[n]],
            "matrix": matrix,
        },
    }  # fmt: skip
    # Inside a script element, only "</script" and "<!--" can end the data.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = files("annotate.inspect").joinpath("report.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/", text.encode("utf-8", "replace").decode("utf-8"))


def _image(store: LabelStore, row: int, label: LabelMap, read: Callable[[str], Picture] | None) -> tuple[str, str]:
    """A picture as a small JPEG in base64, and \"\"; or \"\" and the reason why it cannot be shown."""
    if read is None:
        return "", "the report was made without its pictures"
    try:
        picture = picture_of(store, row, label, read)
    except PictureError as error:
        return "", error.reason
    scale = min(1.0, _SIDE / max(picture.size))
    small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return base64.b64encode(file.getvalue()).decode(), ""


def _entry(key: str, row: int, label: LabelMap, found: Survey, image: str, why: str) -> dict[str, Any]:
    own = int(found.targets[row])
    doubt = float(found.doubt[row])
    height, width = label.sizes.tolist()
    return {
        "key": key,
        "height": height or 1,
        "width": width or 1,
        "box": [float(edge) for edge in label.boxes],
        "image": image,
        "why": why,
        "best": int(found.best[row]),
        "own": own if own >= 0 else None,
        "doubt": None if np.isnan(doubt) else round(doubt, 4),
        "confidence": round(float(found.confidence[row]), 4),
        "entropy": round(float(found.entropy[row]), 4),
        "classes": base64.b64encode(label.classes.astype("<u4").tobytes()).decode(),
        "scores": base64.b64encode(label.scores.astype("<f4").tobytes()).decode(),
    }


def _matrix(found: Survey) -> dict[str, Any] | None:
    """The classes that are confused most, and how many pictures of each have which label; or None."""
    judged = found.labelled & (found.targets >= 0)
    if not judged.any():
        return None
    errors: dict[int, int] = {}
    for (own, _), count in found.confused.items():
        errors[own] = errors.get(own, 0) + count
    classes = sorted(sorted(errors, key=lambda c: -errors[c])[:_MATRIX])
    index = {number: n for n, number in enumerate(classes)}
    counts = [[0] * len(classes) for _ in classes]
    for (own, other), count in found.confused.items():
        if own in index and other in index:
            counts[index[own]][index[other]] += count
    for number, n in index.items():
        counts[n][n] = int((judged & (found.targets == number) & (found.best == number)).sum())
    return {"classes": classes, "counts": counts} if classes else None
