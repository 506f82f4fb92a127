"""How is a label read without tokenlabel? With numpy, zarr and docs/format.md: STORE KEY [ROW COLUMN]."""

import json
import sys

import numpy as np
import zarr


def open_labels(address):
    """The Zarr group and its header. (Its seal, a SHA-256, would need hashlib.)"""
    group = zarr.open_group(address, mode="r")
    header = group.attrs.get("tokenlabel")
    if header is None or "tokenlabel:creating" in group.attrs:
        raise ValueError(f"{address} is not a finished store of label maps")
    if header["format"] != 1:
        raise ValueError(f"{address} has format {header['format']}; this program reads format 1")
    return group, header


def row_of(group, key):
    """The row of a key, by reading all keys; the key index would find it among millions at once."""
    (rows,) = np.nonzero(group["keys"][:] == key)
    if not len(rows):
        raise KeyError(f"no picture has the key {key!r}")
    return int(rows[0])


def read(group, header, row):
    """The label map of a row: classes [h, w, k], probabilities or logits [h, w, k], and its box."""
    record = str(group["shards/record"][row // header["schema"]["rows_per_shard"]])
    if not record:
        raise LookupError(f"row {row} is not labelled yet: its shard has no commit record")
    for failure in json.loads(record)["failures"]:
        if failure["row"] == row:
            raise LookupError(f"row {row} has no label, it is {failure['status']}: {failure['reason']}")
    classes, scores, box = (group[name][row] for name in ("classes", "scores", "boxes"))
    if group["status"][row] != 0 or np.isnan(box).any():
        raise ValueError(f"row {row} is damaged: its shard has a commit record, but objects are missing")
    if header["schema"]["scores"] == "logit":
        return classes, scores, box
    probabilities = decode(scores)
    if ((classes == no_class(classes)) != (probabilities == 0)).any():
        raise ValueError(f"row {row} is damaged: classes and probabilities do not belong together")
    return classes, probabilities, box


def decode(codes):
    """Probabilities float32 [..., k] of codes uint8 [..., k]."""
    p = ((codes % 128) / 128) ** 2
    p[..., 0] = np.where(codes[..., 0] >= 128, p[..., 0], 1 - p.sum(-1))
    return p.astype(np.float32)


def no_class(classes):
    """The id that stands for "no class"."""
    return np.iinfo(classes.dtype).max


if __name__ == "__main__":
    address, key, *location = sys.argv[1:]
    group, header = open_labels(address)
    classes, scores, box = read(group, header, row_of(group, key))
    names = header["schema"]["class_names"]
    y, x = map(int, location or (0, 0))
    print(f"{key}: row {y}, column {x} of {classes.shape[:2]} over the box {box.tolist()}")
    for class_id, score in zip(classes[y, x].tolist(), scores[y, x].tolist(), strict=True):
        if class_id != no_class(classes):
            print(score, names[class_id] if names else class_id)
