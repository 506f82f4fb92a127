"""Which network labels the pictures, at which input size, and with which weights?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from annotate.errors import AnnotateError
from annotate.model.checkpoint import Checkpoint, file_hash, read_checkpoint
from annotate.model.model_name import NamedModel, from_the_hub, kept_names, named_model, size_of

if TYPE_CHECKING:
    import torch

_LONGEST = 300  # characters of an error of timm's that are shown
_FILTERS = tuple(one.name.lower() for one in Image.Resampling)
# Arguments of `timm.create_model` that would change weights or input beside the recipe: what to give instead.
_ELSEWHERE = {
    "pretrained": "--pretrained or --checkpoint FILE",
    "checkpoint_path": "--checkpoint FILE",
    "pretrained_cfg": "--model NAME.TAG, --mean, --std, --interpolation and --input-size",
    "pretrained_cfg_overlay": "--mean, --std, --interpolation and --input-size",
    "features_only": "nothing: labels need the classifier",
    "cache_dir": "the environment variable HF_HUB_CACHE",
}


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
    notes:          sentences for the user on what was taken from the checkpoint; ignored and left out as well

    Raises:
        AnnotateError: a field is out of range, or an argument belongs elsewhere.

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
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Check that each field is in its range."""
        if min(self.input_size) < 1:
            raise AnnotateError(f"the input size must be at least 1x1 pixels, not {self.input_size}")
        for name, values, low in (("mean", self.mean, -1e-9), ("std", self.std, 0)):
            if len(values) != 3 or not all(low < value <= 1 for value in values):
                raise AnnotateError(
                    f"the {name} must be three numbers for pixels in [0, 1], such as 0.485, 0.456, 0.406, not "
                    f"{', '.join(map(str, values))}; divide numbers for pixels from 0 to 255 by 255"
                )
        if self.interpolation not in _FILTERS:
            raise AnnotateError(f"interpolation must be one of {', '.join(_FILTERS)}, not {self.interpolation!r}")
        for name in _ELSEWHERE.keys() & self.model_kwargs.keys():
            raise AnnotateError(
                f"the argument {name} of timm has no place in a recipe; give {_ELSEWHERE[name]} instead"
            )

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
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        interpolation: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """The network of this name, with the weights of the checkpoint or those that timm downloads. Loads no weights.

        What is not given comes from the checkpoint where that says it, and otherwise from timm: mean, std,
        interpolation, and the number of classes. The input size is that of the argument `img_size`, or the one that
        timm tests the network at.

        Args:
            model: a name of timm's, "hf-hub:OWNER/NAME", or "local-dir:FOLDER".
            checkpoint: a file of weights.
            input_size: height and width of the input, pixels.
            mean, std: of the input's normalisation, for pixels in [0, 1].
            interpolation: the filter that pictures are resized with.
            model_kwargs: further arguments of `timm.create_model`.

        Raises:
            AnnotateError: there is no such model, or the checkpoint cannot be read.
        """
        for name, value in (model_kwargs or {}).items():
            if value is None or ("drop" in name and name.endswith("rate")):  # timm leaves None out; the other trains
                raise AnnotateError(f"the argument {name}={value} has no effect on labels; leave it out")
        known = named_model(model)
        if not known.config:
            raise AnnotateError(f"timm knows the model {model}, but not its input size; use another model")
        file = checkpoint or known.checkpoint
        about = None if file is None else read_checkpoint(file)
        arguments, notes = {**known.arguments, **(model_kwargs or {})}, list[str]()
        built = known if known.checkpoint is None else named_model(known.name)  # without the folder's own config.json
        if about is not None and (note := _take_classes(arguments, built, about)):
            notes.append(note)
        if known.config["fixed_input_size"] and known.input_size != built.input_size:
            arguments.setdefault("img_size", list(known.input_size))
        if about is not None and about.averaged:
            notes.append(
                f"{about.path.name} has averaged weights ({about.averaged}, EMA): these are used, not the others"
            )
        own = {} if about is None else about.normalisation
        chosen: dict[str, Any] = {}
        for name, given in (("mean", mean), ("std", std), ("interpolation", interpolation)):
            chosen[name] = next(each for each in (given, own.get(name), known.config[name]) if each is not None)
            if about is not None and given is None and name in own and _plain(own[name]) != _plain(known.config[name]):
                notes.append(f"{about.path.name}: {name} is {_plain(own[name])}, as its {about.origin} says")
        return cls(
            model=known.name,
            model_kwargs=arguments,
            weights="pretrained" if file is None else file_hash(file),
            input_size=input_size or size_of(arguments.get("img_size")) or known.input_size,
            interpolation=chosen["interpolation"],
            mean=tuple(chosen["mean"]),
            std=tuple(chosen["std"]),
            checkpoint=None if file is None else file.absolute(),
            notes=tuple(notes),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the path of the checkpoint; `from_json` gives an equal network back."""
        values = asdict(self)
        del values["checkpoint"], values["notes"]
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

        known, checkpoint = named_model(self.model), self.checkpoint
        classes, own = self.model_kwargs.get("num_classes"), known.config.get("num_classes")
        if checkpoint is None and own is not None and classes not in (None, own):
            raise AnnotateError(
                f"the pretrained weights of {self.model} are for {own} classes; with num_classes={classes} its "
                "classifier would be random. Give your own with --checkpoint FILE"
            )
        # What timm knows of the input, and what provenance therefore says of it, is what the recipe says.
        ours = {"mean": self.mean, "std": self.std, "interpolation": self.interpolation}
        overlay = {name: mine for name, mine in ours.items() if _plain(mine) != _plain(known.config.get(name, mine))}
        if checkpoint is not None and file_hash(checkpoint) != self.weights:
            raise AnnotateError(
                f"the checkpoint {checkpoint} has changed since the job began: its SHA-256 is no longer "
                f"{self.weights}. Restore that file, or start a new job with the changed one"
            )
        try:
            model: torch.nn.Module = timm.create_model(
                known.name, pretrained=checkpoint is None, pretrained_cfg_overlay=overlay or None, **self.model_kwargs
            ).eval()
        except Exception as error:  # the internet, the Hub and timm raise exceptions of many types
            raise AnnotateError(self._cannot_build(error)) from error
        return model if checkpoint is None else self._filled(model, known, checkpoint, overlay)

    def _filled(self, model: Any, known: NamedModel, checkpoint: Path, overlay: Mapping[str, Any]) -> torch.nn.Module:
        """The network with the weights of the checkpoint, which must be all that it has."""
        from annotate.model.conversion import converted, misfit

        about = read_checkpoint(checkpoint)
        try:
            return converted(model, about, known.name, self.model_kwargs, overlay)
        except AnnotateError:
            raise
        except Exception as error:  # a wrong file fails in many ways
            why, hint = str(error), misfit(about, model, known.config.get("classifier"))
            raise AnnotateError(
                f"the checkpoint {checkpoint} does not fit the model {self.model} with "
                f"{dict(self.model_kwargs) or 'no further arguments'} ({hint}): "
                + (f"{why[:_LONGEST]} …" if len(why) > _LONGEST else why)  # it may name every weight
            ) from error

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the network's classes, from the checkpoint or from timm; None if neither has them.

        A checkpoint without names is taken for timm's own weights if the model's name has a tag and as many classes as
        the weights of that tag: this is how machines without internet use them. Without a tag, its classes are unknown.

        Raises:
            AnnotateError: the checkpoint's `class_names` are not a JSON list of strings.
        """
        import timm

        known = named_model(self.model)
        classes = self.model_kwargs.get("num_classes")
        if self.checkpoint is not None:
            if (names := read_checkpoint(self.checkpoint).class_names or kept_names(self.checkpoint)) is not None:
                return names
            has_tag = "." in self.model or ":" in self.model
            if not has_tag or classes not in (None, known.config.get("num_classes")):
                return None
        if known.class_names is not None:
            return known.class_names
        subset = timm.data.infer_imagenet_subset(dict(known.config)) if known.is_timms else None
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
        return {**found, **from_the_hub(config)}

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
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def _take_classes(arguments: dict[str, Any], known: NamedModel, about: Checkpoint) -> str | None:
    """Set num_classes to that of the checkpoint's classifier, unless it is given or timm's; returns a note on it."""
    default = known.config["num_classes"]
    found = about.classifier(known.config.get("classifier"))
    if found is None and about.class_names is not None:
        found = "class_names", len(about.class_names)
    if "num_classes" in arguments or found is None or found[1] == default:
        return None
    arguments["num_classes"] = found[1]
    return (
        f"{about.path.name}: {found[0]} has {found[1]} classes, so the network gets num_classes={found[1]}, not the "
        f"{default} of {known.name}"
    )


def _plain(value: Any) -> Any:
    """A value as JSON has it: a tuple is a list, and 1 is 1.0."""
    return [float(each) for each in value] if isinstance(value, list | tuple) else value
