"""What do the tests of sources read? The same pictures in every kind of collection."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import h5py
import numpy as np
from PIL import Image

datasets.disable_progress_bars()


NAMES = [f"class {n % 3}/{n}.jpg" for n in range(40)]
LABELS = [n % 3 for n in range(40)]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (5 + seed % 4, 7, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = {name: jpeg(n) for n, name in enumerate(NAMES)}


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_folder(root: Path) -> Path:
    for name, data in PICTURES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def dataset() -> datasets.Dataset:
    rows = {"image": [{"bytes": data, "path": name} for name, data in PICTURES.items()], "label": LABELS}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    return datasets.Dataset.from_dict(rows, features=features)


def write_tars(root: Path) -> Path:
    for start in range(0, 40, 10):
        names = NAMES[start : start + 10]
        members = {name: PICTURES[name] for name in names}
        members |= {name.replace(".jpg", ".cls"): str(LABELS[NAMES.index(name)]).encode() for name in names}
        write_tar(root / f"{start:02d}.tar", members)
    return root


def write_parquet(root: Path) -> Path:
    root.mkdir()
    for shard, rows in enumerate((range(25), range(25, 40))):
        dataset().select(rows).to_parquet(root / f"train-{shard:05d}-of-00002.parquet", batch_size=10)
    return root


def write_saved(root: Path) -> Path:
    dataset().save_to_disk(root, num_shards=3)
    return root


def write_hdf5(root: Path) -> Path:
    root.mkdir()
    with h5py.File(root / "pictures.h5", "w") as file:
        images = file.create_dataset("images", len(NAMES), h5py.vlen_dtype(np.uint8))
        for row, data in enumerate(PICTURES.values()):
            images[row] = np.frombuffer(data, np.uint8)
        file["labels"] = np.array(LABELS, np.uint8)
        file["keys"] = NAMES
    return root / "pictures.h5"


def write_csv(root: Path) -> Path:
    with (write_folder(root) / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "path"), *zip(LABELS, NAMES, strict=True)])
    return root / "list.csv"


def write_jsonl(root: Path) -> Path:
    lines = [json.dumps({"path": name, "label": label}) for name, label in zip(NAMES, LABELS, strict=True)]
    (write_folder(root) / "list.jsonl").write_text("\n".join(lines))
    return root / "list.jsonl"


KINDS: dict[str, Callable[[Path], Path]] = {
    "folder": write_folder,
    "tar": lambda root: write_tar(root / "one.tar", PICTURES),
    "tars": write_tars,
    "train": write_parquet,
    "saved": write_saved,
    "hdf5": write_hdf5,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
