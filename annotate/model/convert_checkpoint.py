"""How do weights that another project trained get timm's names? By the order of their definition and their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from annotate.errors import AnnotateError
from annotate.model.model_name import check_model_name

_COUNTER = "num_batches_tracked"  # batch normalisation's count of training steps; older checkpoints leave it out
_ORDERLESS = (".safetensors",)  # files that sort their tensors by name


def convert_checkpoint(
    checkpoint: Path, model: str, *, model_kwargs: Mapping[str, Any] | None = None
) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint under the names of a timm network of the same architecture.

    The n-th tensor of the checkpoint becomes the n-th of the network. This is right where both define the same layers
    in the same order, and is refused where it cannot be: each pair must agree in its shape, and in the last part of its
    name ("weight", "bias", "running_mean", …). Check the result on pictures whose class you know: two layers of one
    shape that are defined in another order are not noticed.

    Args:
        checkpoint: a file that `torch.save` wrote: a state dict, or a dict that has one below "state_dict" or "model".
        model: timm's name of the network.
        model_kwargs: further arguments of `timm.create_model`.

    Returns:
        A whole state dict of the network, on the CPU; write it with `safetensors.torch.save_file` for `--checkpoint`.

    Raises:
        AnnotateError: the checkpoint cannot be read, keeps no order of definition, or does not fit; the message names
            the first tensor that differs.

    >>> import timm, torch
    >>> from pathlib import Path
    >>> from annotate import convert_checkpoint
    >>> theirs = {f"net.{name}": tensor for name, tensor in timm.create_model("test_resnet").state_dict().items()}
    >>> torch.save(theirs, "theirs.pth")
    >>> list(convert_checkpoint(Path("theirs.pth"), "test_resnet"))[:2]
    ['conv1.0.weight', 'conv1.1.weight']
    """
    import timm

    check_model_name(model)
    given = _read(checkpoint)
    try:
        network = timm.create_model(model, pretrained=False, **(model_kwargs or {}))
    except Exception as error:  # timm raises whatever it likes
        raise AnnotateError(f"cannot make the model {model} with {dict(model_kwargs or {})}: {error}") from error
    wanted: dict[str, torch.Tensor] = network.state_dict()
    converted = dict(wanted)
    has_counters = any(name.endswith(_COUNTER) for name in given)
    names = [name for name in wanted if has_counters or not name.endswith(_COUNTER)]
    for number, (theirs, ours) in enumerate(zip_longest(given, names), 1):
        if (difference := _difference(theirs, ours, given, wanted)) is not None:
            raise AnnotateError(
                f"cannot convert {checkpoint} to {model}: tensor {number} differs. {difference}. The "
                f"checkpoint has {len(given)} tensors, the network {len(names)}. Both must define the same layers in "
                "the same order: choose the network of the same architecture, or other arguments such as num_classes"
            )
        converted[ours] = given[theirs].contiguous()
    return converted


def _difference(
    theirs: str | None, ours: str | None, given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> str | None:
    """How a pair of tensors differs, as a sentence without its full stop; None if they fit."""
    if theirs is None:
        return f"Only the network has {_shown(ours, wanted)}"
    if ours is None:
        return f"Only the checkpoint has {_shown(theirs, given)}"
    both = f"The checkpoint has {_shown(theirs, given)}, the network {_shown(ours, wanted)}"
    if given[theirs].shape != wanted[ours].shape:
        return f"{both}, of another shape"
    if theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
        return f"{both}, of another kind"
    return None


def _shown(name: str | None, tensors: Mapping[str, torch.Tensor]) -> str:
    return "no tensor" if name is None else f"{name!r} {list(tensors[name].shape)}"


def _read(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, in the order in which they were saved."""

    if checkpoint.suffix in _ORDERLESS:
        raise AnnotateError(
            f"cannot convert {checkpoint}: a {checkpoint.suffix} file sorts its tensors by name, and this conversion "
            "needs the order in which they were defined. Give the file that torch.save wrote"
        )
    try:
        # Refuses pickles that hold more than tensors.
        found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise AnnotateError(f"cannot read the checkpoint {checkpoint}: {error.strerror or error}") from error
    except Exception as error:  # a wrong file fails in many ways
        why = str(error).partition("\n")[0]
        raise AnnotateError(f"{checkpoint} is not a checkpoint of tensors that torch.save wrote: {why}") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(each, torch.Tensor) for each in found.values()):
        raise AnnotateError(
            f"{checkpoint} holds no state dict: expected tensors by name, or a dict that has them below 'state_dict' "
            f"or 'model'; found {type(found).__name__}"
            + (f" with {', '.join(map(repr, list(found)[:3]))}" if isinstance(found, dict) and found else "")
        )
    return found
