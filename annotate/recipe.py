"""What decides a label? The Recipe: frozen, JSON, the store's provenance, and the reason to refuse a mixed store."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from annotate.errors import AnnotateError
from annotate.preprocess import MODES, Mode

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a label, but for the picture.

    model:          a timm name, with its tag if it has one
    model_kwargs:   what `timm.create_model` gets besides
    weights:        "sha256:" and the hash of the checkpoint file, or "pretrained" for those that timm downloads
    input_size:     height and width of the network's input, pixels
    preprocess:     how a picture is fitted to it; see annotate/preprocess.py
    interpolation:  the filter of the resize
    mean, std:      of the input's normalisation, for pixels in [0, 1]
    head:           how the classifier is asked at each location; see annotate/dense.py
    precision:      the floating-point type of the network

    Raises:
        AnnotateError: a field is out of its range.
    """

    model: str
    weights: str
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    preprocess: Mode = "squash"
    head: str = "local"
    precision: str = "float32"
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse fields out of range."""
        if self.preprocess not in MODES:
            raise AnnotateError(f"preprocess must be one of {', '.join(MODES)}, not {self.preprocess!r}")
        if min(self.input_size) < 1:
            raise AnnotateError(f"the input size must be at least 1x1 pixels, not {self.input_size}")

    @classmethod
    def for_model(
        cls,
        model: str,
        *,
        checkpoint: Path | None = None,
        input_size: tuple[int, int] | None = None,
        preprocess: Mode = "squash",
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """The recipe of a timm network with the input that it was made for. Loads no weights.

        Raises:
            AnnotateError: timm has no such model, or the checkpoint cannot be read.
        """
        import timm

        _check_model_name(model)
        config = timm.get_pretrained_cfg(model)
        if config is None:
            raise AnnotateError(f"timm knows the model {model}, but not its input; use another name")
        known = config.to_dict()
        default_size = known.get("test_input_size") or known["input_size"]
        return cls(
            model=model,
            model_kwargs=dict(model_kwargs or {}),
            weights="pretrained" if checkpoint is None else _sha256(checkpoint),
            input_size=input_size or (int(default_size[1]), int(default_size[2])),
            preprocess=preprocess,
            interpolation=known["interpolation"],
            mean=tuple(known["mean"]),
            std=tuple(known["std"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal recipe back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of `to_json`'s values."""
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**frozen)

    def build(self, checkpoint: Path | None) -> torch.nn.Module:
        """The network with its weights, in evaluation mode on the CPU.

        Raises:
            AnnotateError: the weights cannot be had or do not fit.
        """
        import timm

        config = timm.get_pretrained_cfg(self.model)
        classes = self.model_kwargs.get("num_classes")
        if checkpoint is None and config and classes not in (None, config.num_classes):
            raise AnnotateError(
                f"the pretrained weights of {self.model} are for {config.num_classes} classes; with "
                f"num_classes={classes} its classifier would be random. Give your own with --checkpoint FILE"
            )
        try:
            model: torch.nn.Module = timm.create_model(
                self.model, pretrained=checkpoint is None, **self.model_kwargs
            ).eval()
        except Exception as error:  # the network, the Hub and timm raise what they like
            raise AnnotateError(_cannot_build(self, checkpoint, error)) from error
        if checkpoint is not None:
            if _sha256(checkpoint) != self.weights:
                raise AnnotateError(f"the checkpoint {checkpoint} has changed since the job began; begin it again")
            try:
                # Refuses pickles that hold more than tensors.
                timm.models.load_checkpoint(model, str(checkpoint), weights_only=True)
            except Exception as error:  # a wrong file fails in many ways
                raise AnnotateError(
                    f"the checkpoint {checkpoint} does not fit the model {self.model} with "
                    f"{dict(self.model_kwargs) or 'no further arguments'}: {error}"
                ) from error
        return model

    def class_names(self, checkpoint: Path | None) -> tuple[str, ...] | None:
        """The names that the checkpoint or timm gives to the network's classes, or None."""
        import timm
        from safetensors import safe_open

        if checkpoint is not None:
            if checkpoint.suffix != ".safetensors":
                return None
            with safe_open(checkpoint, "pt") as file:
                listed = (file.metadata() or {}).get("class_names")
            try:
                return tuple(map(str, json.loads(listed))) if listed else None
            except (TypeError, ValueError) as error:
                raise AnnotateError(
                    f"the class_names in the header of {checkpoint} are no JSON list: {error}"
                ) from error
        config = timm.get_pretrained_cfg(self.model)
        subset = timm.data.infer_imagenet_subset(config.to_dict()) if config else None
        if subset is None:
            return None
        info = timm.data.ImageNetInfo(subset)
        return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def _check_model_name(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `timm.list_models()` lists them"
        raise AnnotateError(f"timm has no model {name!r}{hint}")
    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise AnnotateError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(tags) or 'none'}")


def _cannot_build(recipe: Recipe, checkpoint: Path | None, error: Exception) -> str:
    what = f"cannot make the model {recipe.model} with {dict(recipe.model_kwargs) or 'no further arguments'}"
    if checkpoint is not None:
        return f"{what}: {error}"
    return (
        f"{what} and its pretrained weights: {error}\n"
        "Where there is no network, fetch the weights where there is one and give the file with --checkpoint FILE."
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise AnnotateError(f"cannot read the checkpoint {path}: {error.strerror}") from error
