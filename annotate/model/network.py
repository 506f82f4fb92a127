"""Which network labels the pictures, at which input size, and with which weights?"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from annotate.errors import AnnotateError

if TYPE_CHECKING:
    import torch

_LONGEST = 300  # characters of an error of timm's that are shown


@dataclass(frozen=True, kw_only=True, repr=False)
class Network:
    """A pretrained timm network, and the input that it takes.

    model:          timm's name of it, with the tag if there is one
    weights:        "sha256:" and the hash of the checkpoint file, or "pretrained" for the weights that timm downloads
    input_size:     height and width of its input, pixels
    mean, std:      of the input's normalisation, for pixels in [0, 1]
    interpolation:  the filter that pictures are resized with
    model_kwargs:   further arguments of `timm.create_model`
    checkpoint:     the file of the weights on this machine, or None; ignored by == and left out of the JSON

    Raises:
        AnnotateError: a field is out of range.

    >>> from annotate import Network
    >>> Network.of("resnet50.a1_in1k")
    Network('resnet50.a1_in1k', input_size=(288, 288), weights='pretrained')
    """

    model: str
    weights: str
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check that each field is in its range."""
        if min(self.input_size) < 1:
            raise AnnotateError(f"the input size must be at least 1x1 pixels, not {self.input_size}")

    def __repr__(self) -> str:
        """The model, its input size and the first digits of its weights' hash."""
        weights = self.weights if len(self.weights) <= 16 else f"{self.weights[:15]}…"
        return f"Network({self.model!r}, input_size={self.input_size}, weights={weights!r})"

    @classmethod
    def of(
        cls,
        model: str,
        *,
        checkpoint: Path | None = None,
        input_size: tuple[int, int] | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """The timm network of this name, by default with the input size that timm tests it at. Loads no weights.

        Raises:
            AnnotateError: timm has no such model, or the checkpoint cannot be read.
        """
        import timm

        check_model_name(model)
        config = timm.get_pretrained_cfg(model)
        if config is None:
            raise AnnotateError(f"timm knows the model {model}, but not its input size; use another model")
        known = config.to_dict()
        default_size = known.get("test_input_size") or known["input_size"]
        return cls(
            model=model,
            model_kwargs=dict(model_kwargs or {}),
            weights="pretrained" if checkpoint is None else _file_hash(checkpoint),
            input_size=input_size or (int(default_size[1]), int(default_size[2])),
            interpolation=known["interpolation"],
            mean=tuple(known["mean"]),
            std=tuple(known["std"]),
            checkpoint=None if checkpoint is None else checkpoint.absolute(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the path of the checkpoint; `from_json` gives an equal network back."""
        values = asdict(self)
        del values["checkpoint"]
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The network of `to_json`'s values."""
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**frozen)

    def build(self) -> torch.nn.Module:
        """The network with its weights, in evaluation mode on the CPU.

        Raises:
            AnnotateError: the weights cannot be downloaded or read, or do not fit the model.
        """
        import timm

        config, checkpoint = timm.get_pretrained_cfg(self.model), self.checkpoint
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
        except Exception as error:  # the internet, the Hub and timm raise exceptions of many types
            raise AnnotateError(self._cannot_build(error)) from error
        if checkpoint is not None:
            if _file_hash(checkpoint) != self.weights:
                raise AnnotateError(
                    f"the checkpoint {checkpoint} has changed since the job began: its SHA-256 is no longer "
                    f"{self.weights}. Restore that file, or start a new job with the changed one"
                )
            try:
                # Refuses pickles that hold more than tensors.
                timm.models.load_checkpoint(model, str(checkpoint), weights_only=True)
            except Exception as error:  # a wrong file fails in many ways
                why = str(error)
                raise AnnotateError(
                    f"the checkpoint {checkpoint} does not fit the model {self.model} with "
                    f"{dict(self.model_kwargs) or 'no further arguments'}: "
                    + (f"{why[:_LONGEST]} …" if len(why) > _LONGEST else why)  # it may name every weight
                ) from error
        return model

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the network's classes, from the checkpoint or from timm; None if neither has them.

        A checkpoint without names is taken for timm's own weights if the model's name has a tag and as many classes as
        the weights of that tag: this is how machines without internet use them. Without a tag, its classes are unknown.

        Raises:
            AnnotateError: the checkpoint's `class_names` are not a JSON list of strings.
        """
        import timm

        config = timm.get_pretrained_cfg(self.model)
        if self.checkpoint is not None:
            if (names := _names_in(self.checkpoint)) is not None:
                return names
            classes = self.model_kwargs.get("num_classes")
            if "." not in self.model or config is None or classes not in (None, config.num_classes):
                return None
        subset = timm.data.infer_imagenet_subset(config.to_dict()) if config else None
        if subset is None:
            return None
        info = timm.data.ImageNetInfo(subset)
        return tuple(info.index_to_description(index) for index in range(info.num_classes()))

    def provenance(self, model: torch.nn.Module) -> dict[str, Any]:
        """Where the loaded weights come from: JSON values, for a user who needs them again.

        state:          SHA-256 of the loaded weights; see `state_hash`
        full_name:      the model's name with its tag, timm's default tag if none was given
        pretrained_cfg: timm's configuration of that name: of the weights it downloads, otherwise of the architecture
        checkpoint:     the name of the file, if one was given
        hub:            otherwise the commit and the SHA-256 of the file, if the Hub's cache has them
        """
        config: Any = getattr(model, "pretrained_cfg", {})
        architecture = config.get("architecture") or self.model.partition(".")[0]
        found = {
            "state": state_hash(model),
            "full_name": ".".join(filter(None, (architecture, config.get("tag")))),
            "pretrained_cfg": json.loads(json.dumps(dict(config), default=str)),
        }
        if self.checkpoint is not None:
            return {"checkpoint": self.checkpoint.name, **found}
        return {**found, **_from_the_hub(config)}

    def _cannot_build(self, error: Exception) -> str:
        what = f"cannot make the model {self.model} with {dict(self.model_kwargs) or 'no further arguments'}"
        if self.checkpoint is not None:
            return f"{what}: {error}"
        return (
            f"{what} and its pretrained weights: {error}\n"
            "Without access to the internet, download the weights elsewhere and give the file with --checkpoint FILE."
        )


def state_hash(model: torch.nn.Module) -> str:
    """ "sha256:" and the hash of all weights and statistics: names, types, shapes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(_bytes()).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def _bytes() -> Any:
    import torch

    return torch.uint8


def _from_the_hub(config: Mapping[str, Any]) -> dict[str, Any]:
    """The commit and the hash of the file of these weights in the Hub's cache on this machine, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    if not (repository := config.get("hf_hub_id")):
        return {}
    for name in filter(None, (config.get("hf_hub_filename"), "model.safetensors", "pytorch_model.bin")):
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            path = Path(cached)  # …/snapshots/<commit>/<file>
            return {
                "hub": {"repository": repository, "commit": path.parent.name, "file": name, "hash": _file_hash(path)}
            }
    return {}


def _names_in(checkpoint: Path) -> tuple[str, ...] | None:
    """The class names in the header of a .safetensors file, or None.

    Raises:
        AnnotateError: they are not a JSON list of strings.
    """
    from safetensors import safe_open

    if checkpoint.suffix != ".safetensors":
        return None
    with safe_open(checkpoint, "pt") as file:
        listed = (file.metadata() or {}).get("class_names")
    if listed is None:
        return None
    try:
        names = json.loads(listed)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise AnnotateError(
            f"the class_names in the header of {checkpoint} are not a JSON list of strings, but {listed[:80]!r}; write "
            'them as ["tench", "goldfish", …], or leave them out'
        )
    return tuple(names)


def check_model_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        AnnotateError: there is no such model, or no such weights of it; the message has names that are near.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `timm.list_models()` lists them"
        raise AnnotateError(f"timm has no model {name!r}{hint}")
    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise AnnotateError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(tags) or 'none'}")


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise AnnotateError(f"cannot read the checkpoint {path}: {error.strerror}") from error
