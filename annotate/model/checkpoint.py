"""What is in a file of weights? Tensors, and what the file says of them; or why it cannot be used."""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from annotate.errors import AnnotateError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
AVERAGED, PLAIN = ("state_dict_ema", "model_ema"), ("state_dict", "model")  # in timm's order
FOREIGN = (".npz", ".npy")  # of JAX: only the network's own code knows what is in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a file of weights says of itself. The tensors stay in the file; `weights` reads them.

    path:          the file
    shapes:        the shape of each tensor, by its name; empty where only the network's own code can tell
    class_names:   the names of the classes, or None
    normalisation: what it says of "mean", "std" and "interpolation" of the network's input
    origin:        where it says so: "class_names" and others lie in a header, in "pretrained_cfg" or in "args"
    averaged:      the key of averaged weights (EMA) that are used, where there are others beside them
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    class_names: tuple[str, ...] | None = None
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    averaged: str | None = None

    def classifier(self, names: object) -> tuple[str, int] | None:
        """The weight of the network's classifier and its number of classes; None if the file has none of that name.

        Args:
            names: what timm calls the classifier: a name, several, or None.
        """
        for name in (names,) if isinstance(names, str) else names if isinstance(names, list | tuple) else ():
            if shape := self.shapes.get(weight := f"{name}.weight"):
                return weight, shape[0]
        return None

    def weights(self) -> dict[str, torch.Tensor]:
        """The tensors by name, without the prefixes that wrappers of networks add.

        Raises:
            AnnotateError: the file cannot be read.
        """
        import timm

        tensors: dict[str, torch.Tensor]
        if self.path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = _attempt(self.path, lambda: load_file(self.path))
        else:
            tensors = _state(_load(self.path))[0]
        cleaned: dict[str, torch.Tensor] = timm.models.clean_state_dict(tensors)
        return cleaned


def read_checkpoint(path: Path) -> Checkpoint:
    """What a file of weights says of itself: .safetensors, or a pickle of tensors and nothing else.

    Raises:
        AnnotateError: the file cannot be read, or is no checkpoint; the message says what it is.
    """
    _refuse_other_files(path)
    if path.suffix in FOREIGN:
        return Checkpoint(path=path)
    if path.suffix == ".safetensors":
        return _of_header(path)
    found = _load(path)
    state, averaged = _state(found)
    about, origin = _settings_in(found)
    return Checkpoint(
        path=path,
        shapes=_shapes({name: tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}),
        normalisation=about,
        origin=origin,
        averaged=averaged,
    )


def file_hash(path: Path) -> str:
    """ "sha256:" and the hash of the file.

    Raises:
        AnnotateError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise AnnotateError(f"cannot read the checkpoint {path}: {error.strerror}") from error


def _of_header(path: Path) -> Checkpoint:
    from safetensors import safe_open

    def read() -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    header, shapes = _attempt(path, read)
    names = _json(path, header, "class_names", "a JSON list of strings", '["tench", "goldfish", …]', _is_names)
    config = _json(path, header, "pretrained_cfg", "a JSON object", '{"mean": [0.5, 0.5, 0.5], …}', _is_mapping) or {}
    own: dict[str, Any] = {
        name: _json(path, header, name, "a JSON list of three numbers", "[0.5, 0.5, 0.5]", _is_numbers)
        for name in ("mean", "std")
    }
    own["interpolation"] = header.get("interpolation")
    return Checkpoint(
        path=path,
        shapes=_shapes(shapes),
        class_names=None if names is None else tuple(names),
        normalisation=_normalisation({**config, **{name: value for name, value in own.items() if value}}),
        origin="header",
    )


def _json(
    path: Path, header: Mapping[str, str], name: str, kind: str, example: str, is_valid: Callable[[Any], bool]
) -> Any:
    if name not in header:
        return None
    try:
        value = json.loads(header[name])
    except ValueError:
        value = None
    if not is_valid(value):
        raise AnnotateError(
            f"the {name} in the header of {path} are not {kind}, but {header[name][:80]!r}; write them as {example}, "
            "or leave them out"
        )
    return value


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _normalisation(about: Mapping[str, Any]) -> dict[str, Any]:
    """What it says of the network's input. timm's training may say "random", which is none to label with."""
    known = {name: about[name] for name in ("mean", "std") if _is_numbers(about.get(name))}
    interpolation = about.get("interpolation")
    if isinstance(interpolation, str) and interpolation not in ("", "random"):
        known["interpolation"] = interpolation
    return known


def _is_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(each, int | float) for each in value)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _settings_in(found: Any) -> tuple[dict[str, Any], str]:
    """What a pickled checkpoint says of its input, and where: in a configuration, or in its training's arguments."""
    for key in ("pretrained_cfg", "default_cfg", "args"):
        about = found.get(key) if isinstance(found, dict) else None
        about = vars(about) if isinstance(about, argparse.Namespace) else about
        if isinstance(about, dict) and (known := _normalisation(about)):
            return known, repr(key)
    return {}, ""


def _state(found: Any) -> tuple[dict[str, Any], str | None]:
    """The tensors of what was pickled, as timm chooses them; and the key of averaged weights beside others."""
    if not isinstance(found, dict):
        return {}, None
    keys = [key for key in (*AVERAGED, *PLAIN) if isinstance(found.get(key), Mapping)]
    if not keys:
        return found, None
    return dict(found[keys[0]]), keys[0] if keys[0] in AVERAGED and set(keys) & set(PLAIN) else None


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    import timm

    cleaned: dict[str, tuple[int, ...]] = timm.models.clean_state_dict(dict(shapes))
    return cleaned


def _load(path: Path) -> Any:
    import torch

    is_zip = zipfile.is_zipfile(path)
    if is_zip and any("/code/" in name for name in zipfile.ZipFile(path).namelist()):  # torch would warn, then fail
        raise AnnotateError(
            f"cannot use the checkpoint {path}: it is a TorchScript program, and not only weights; save the "
            "state_dict() of the network instead"
        )
    with torch.serialization.safe_globals([argparse.Namespace]):  # timm's training keeps its arguments so
        # Refuses pickles that hold more than tensors. With a new file, tensors are read when they are used.
        return _attempt(path, lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip))


def _refuse_other_files(path: Path) -> None:
    """Refuse a file whose first bytes already say that it is no checkpoint."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise AnnotateError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    if not start:
        raise AnnotateError(f"the checkpoint {path} is empty: it has 0 bytes; fetch or copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise AnnotateError(
            f"the checkpoint {path} is a pointer of Git LFS, and not the weights themselves; fetch them with "
            "`git lfs pull`, or download the file"
        )
    if start.lstrip().startswith((b"<!", b"<html")):
        raise AnnotateError(f"the checkpoint {path} is a web page, and not weights; download the file itself")


def _attempt(path: Path, read: Callable[[], T]) -> T:
    """What `read` gives of this file.

    Raises:
        AnnotateError: it fails; the message says why, as far as the file shows it.
    """
    try:
        return read()
    except AnnotateError:
        raise
    except Exception as error:  # a wrong file fails in many ways
        raise AnnotateError(f"cannot use the checkpoint {path}: {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    said = str(error).partition("\n")[0][:200]
    if path.suffix == ".safetensors":
        if "incomplete" in said.lower() or "header" in said.lower():
            return f"it is cut short, or no safetensors file ({said}); fetch or copy it again"
        return f"it is no safetensors file ({said})"
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        return f"it is cut short: the end of its {path.stat().st_size:,} bytes is missing; fetch or copy it again"
    if isinstance(error, EOFError) or "truncated" in said or "Ran out of input" in said:
        return "it is cut short; fetch or copy it again"
    if objects := _objects_in(path, str(error)):
        return (
            f"beside tensors it holds Python objects ({', '.join(objects[:3])}{', …' * (len(objects) > 3)}), which are "
            "not loaded, because they may run any code"
            + (" (numpy's numbers, such as a metric, among them)" * any(name.startswith("numpy") for name in objects))
            + ". Where you trust the file, save its weights alone: found = torch.load(FILE, weights_only=False); "
            'torch.save(found["state_dict"], "weights.pth"), or found.state_dict() of a whole network'
        )
    return f"it is no pickle of tensors, as torch.save writes one ({said})"


def _objects_in(path: Path, said: str) -> list[str]:
    """The Python objects in a pickle that torch does not load, as far as they can be named."""
    import torch

    try:
        return [str(name) for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)]
    except Exception:  # an old pickle, whose error names the first of them
        _, found, rest = said.partition("Unsupported global: GLOBAL ")
        return [rest.split()[0]] if found else []
