"""How is a training stored? As checkpoints, each written atomically.

A checkpoint holds tensors and plain values. Reading a file runs no code that it may hold.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict, load_state_dict
from torch import nn

from storage.files.atomic_file import remove_leftovers, write_atomically
from tokenlabel.errors import LabelError

_log = logging.getLogger(__name__)
LAST, BEST, LOG = "last.pt", "best.pt", "log.csv"


def write_checkpoint(folder: Path, names: Iterable[str], state: dict[str, Any]) -> None:
    """Write a training's state to files of these names; each is complete at any time, the old one or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    for name in names:
        write_atomically(folder / name, buffer.getvalue())


def write_log(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write log.csv: a line for each epoch."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in lines for name in line)))
    writer.writeheader()
    writer.writerows(lines)
    write_atomically(folder / LOG, text.getvalue().encode())


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files that a training left when it was killed while writing."""
    for name in (LAST, BEST, LOG):
        remove_leftovers(folder / name)


def read_checkpoint(file: Path | str, device: torch.device | str) -> dict[str, Any]:
    """A training's state, its tensors on this device.

    Raises:
        LabelError: the file does not exist, or is not a complete checkpoint.
    """
    return _read(file, lambda path: torch.load(path, map_location=device, weights_only=True))


def load_weights(model: nn.Module, file: Path | str, *, classes: int | None = None) -> None:
    """Load the average of the weights in a checkpoint, or the weights if it has no average.

    Args:
        model: the model.
        file: the checkpoint, perhaps of a module that has the model inside, such as Lightning's: "model." is then
            left out of the names, and a line is logged.
        classes: the number of classes of the model, if the file may have another: its heads then keep their first
            weights, and a line is logged. None if the file must fit.

    Raises:
        LabelError: the file does not exist, it is not a complete checkpoint, or its weights are of another model, or
            of several.
    """
    state = _read(file, _weights)
    if prefix := _prefix(model, state):
        state = _below(state, prefix)
        _log.warning("%s: %r was left out of the names of its weights", file, prefix)
    heads = _heads(model, state, classes) if classes else {}
    if heads:
        _log.warning(
            "%s has weights of %d classes: %s begin anew for %d",
            file,
            len(state[next(iter(heads))]),
            ", ".join(heads),
            classes,
        )
    try:
        state.update(heads)  # and not a new dict, which would lose the metadata
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LabelError(f"the weights in {file} are not those of this model and its classes: {error}") from error


def _weights(path: str) -> dict[str, Any]:
    """The weights as timm chooses them in a file, with their metadata, which timm drops: it has the positions' grid."""
    if path.endswith(".safetensors"):
        return dict(load_state_dict(path))
    file = torch.load(path, map_location="cpu", weights_only=True)
    kinds = ("state_dict_ema", "model_ema", "state_dict", "model")
    chosen = next((file[kind] for kind in kinds if file.get(kind) is not None), file)
    state = OrderedDict(clean_state_dict(chosen))
    # The names of modules, from which wrappers are left out as from those of weights.
    metadata = clean_state_dict({f"{name}.": of for name, of in getattr(chosen, "_metadata", {}).items()})
    state._metadata = {name.rstrip("."): of for name, of in metadata.items()}  # type: ignore[attr-defined]
    return state


def _prefix(model: nn.Module, state: dict[str, Any]) -> str:
    """What the model's names have in front in a file of a larger module: "model." in many of Lightning's; or nothing.

    Raises:
        LabelError: the file has the model several times.
    """
    own = list(model.state_dict())
    for names in (own, [name.removeprefix("network.") for name in own]):  # students of `with_token_head` take the bare
        if any(name in state for name in names):
            return ""
        ends = {name.removesuffix(names[0]) for name in state if name.endswith(f".{names[0]}")}
        found = [prefix for prefix in sorted(ends) if 2 * sum(prefix + name in state for name in names) > len(names)]
        if len(found) > 1:
            raise LabelError(
                f"the file has weights of this model under several names, {' and '.join(map(repr, found))}; give a "
                "file with the weights of one of them"
            )
        if found:
            return found[0]
    return ""


def _below(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The weights, and their metadata, of the module that has this prefix."""
    inner = OrderedDict((name.removeprefix(prefix), of) for name, of in state.items() if name.startswith(prefix))
    metadata = getattr(state, "_metadata", {}).items()
    inner._metadata = {  # type: ignore[attr-defined]
        f"{name}.".removeprefix(prefix).rstrip("."): of for name, of in metadata if f"{name}.".startswith(prefix)
    }
    return inner


def _heads(model: nn.Module, state: dict[str, Any], classes: int) -> dict[str, torch.Tensor]:
    """The model's own weights with a row for each class, where the file has another number of rows."""
    own = model.state_dict()
    where = {name: name if name in own else f"network.{name}" for name in state}  # a student takes its bare network's
    others = {
        name: own[where[name]]
        for name, found in state.items()
        if where[name] in own
        and own[where[name]].shape[:1] == (classes,)
        and own[where[name]].shape[1:] == found.shape[1:]
        and len(found) != classes
    }
    return others if len({len(state[name]) for name in others}) == 1 else {}


def _read(file: Path | str, read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    if not Path(file).is_file():
        raise LabelError(f"there are no weights at {file}; give a checkpoint, or a file of weights")
    try:
        return read(str(file))
    except Exception as error:
        raise LabelError(
            f"{file} cannot be read as a checkpoint ({type(error).__name__}): it is incomplete, or another kind of "
            "file; give a complete checkpoint"
        ) from error
