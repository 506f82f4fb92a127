"""How do weights get into a network? As they are named; where that does not fit, through timm's own conversion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch

from annotate.model.checkpoint import AVERAGED, FOREIGN, PLAIN, Checkpoint

_FEW = 4  # weights that are named one by one
_NO_HEAD = "if its number of classes differs, give it with --model-kwarg num_classes=N"


def converted(
    model: torch.nn.Module,
    checkpoint: Checkpoint,
    name: str,
    model_kwargs: Mapping[str, Any],
    overlay: Mapping[str, Any],
) -> torch.nn.Module:
    """A network that has all its weights from the checkpoint, in evaluation mode.

    timm converts what it downloads, for example weights by older names or positions of another size, and each family
    has code for that. A file gets the same conversion where its weights do not fit as they are.

    Args:
        model: the network without weights; it is filled and returned where the weights fit.
        checkpoint: the file.
        name, model_kwargs, overlay: as they were given to `timm.create_model`.

    Raises:
        RuntimeError: the weights do not fit; torch's message on the weights as they are.
        AnnotateError: the file cannot be read.
    """
    if not checkpoint.shapes:  # numpy's files, which only the network can read
        timm.models.load_checkpoint(model, str(checkpoint.path))
        return model
    weights = checkpoint.weights()
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        made = _by_timm(weights, name, model_kwargs, overlay, getattr(model, "num_classes", 0))
        if made is None:
            raise
        return made
    return model


def misfit(checkpoint: Checkpoint, model: torch.nn.Module, classifier: object) -> str:
    """Why a checkpoint does not fit a network, as far as its names and its number of classes say it.

    Args:
        checkpoint, model: the two.
        classifier: what timm calls the network's classifier: a name, several, or None.
    """
    return ("" if checkpoint.path.suffix in FOREIGN else _misnamed(checkpoint.shapes, model)) or (
        f"its classifier {head[0]} has {head[1]} classes" if (head := checkpoint.classifier(classifier)) else _NO_HEAD
    )


def _misnamed(there: Mapping[str, object], model: torch.nn.Module) -> str:
    """What is wrong with the names of these tensors; "" where they say nothing."""
    names = [name for name, _ in model.named_parameters()]
    if not there:
        return f"it has no tensors at its top level, nor under {', '.join((*AVERAGED, *PLAIN))}"
    for prefix in sorted(name.removesuffix(names[0]) for name in there if name.endswith(f".{names[0]}")):
        if all(prefix + name in there for name in names):
            return f"its tensors are named {prefix}{names[0]} and so on; save them without {prefix!r}"
    missing = [name for name in names if name not in there]
    if missing == names:
        return "none of its tensors has a name of the model's: it is of another model, or of another project"
    if 0 < len(missing) <= _FEW and there.keys() <= model.state_dict().keys():
        return f"all that it lacks is {' and '.join(missing)}; give a file that has them"
    return ""


def _by_timm(
    weights: dict[str, torch.Tensor],
    name: str,
    model_kwargs: Mapping[str, Any],
    overlay: Mapping[str, Any],
    class_count: int,
) -> torch.nn.Module | None:
    """The network with the weights as timm converts what it downloads; None if some fit nowhere, or are missing."""
    # timm fills some families without complaint although weights are missing. torch tells a module's own hook which.
    seen: list[tuple[torch.nn.Module, Any]] = []
    hooks: list[Any] = []

    def watch(parent: torch.nn.Module, _: str, __: torch.nn.Module | None) -> None:
        hooks.append(parent.register_load_state_dict_post_hook(lambda module, keys: seen.append((module, keys))))

    watching = torch.nn.modules.module.register_module_module_registration_hook(watch)
    source = {"source": None, "state_dict": weights, "custom_load": False, "num_classes": class_count}
    try:
        made: torch.nn.Module = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={**overlay, **source}, **model_kwargs
        ).eval()
    except Exception:  # each family has conversion code of its own, which fails in many ways on what it does not know
        return None
    finally:
        watching.remove()
        for hook in hooks:
            hook.remove()
    of_network = [keys for module, keys in seen if module is made]
    if not of_network or of_network[-1].missing_keys or of_network[-1].unexpected_keys:
        return None
    config: Any = made.pretrained_cfg
    config.pop("state_dict", None)
    return made
