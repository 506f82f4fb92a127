"""What is `--model hf:NAME`? A classifier or segmenter of Transformers, and the input that its processor asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from annotate.errors import AnnotateError
from annotate.model.elsewhere.hf_folder import PREFIX, HubFolder
from annotate.model.elsewhere.hf_library import kind_of, load, read_config, read_processor
from annotate.model.elsewhere.hf_processor import input_of
from annotate.model.network import Network, state_hash

if TYPE_CHECKING:
    from torch import nn

_OF_THIS_MACHINE = ("folder", "names")


def is_of_transformers(model: str) -> bool:
    """Whether a name means a network of Transformers, hf:NAME."""
    return model.startswith(PREFIX)


@dataclass(frozen=True, kw_only=True, repr=False)
class HubNetwork:
    """A network that Transformers has saved, here or on the Hub. The fields are those of `Network`.

    model:          "hf:" and OWNER/NAME, with @REVISION if it was given; or the name of a folder
    weights:        "sha256:" and the hash of its safetensors
    model_kwargs:   the hash of its configuration, without the names of classes, as "config"
    folder:         where it is on this machine, None if it is not known; ignored by == and left out of the JSON
    names:          of its classes, None if it has none of its own; ignored and left out as well

    Raises:
        AnnotateError: the input is out of range.
    """

    model: str
    weights: str
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)
    names: tuple[str, ...] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check the input, as that of timm's networks is."""
        names = ("model", "weights", "input_size", "mean", "std", "interpolation")
        Network(**{name: getattr(self, name) for name in names})

    @property
    def notes(self) -> tuple[str, ...]:
        """None: nothing is taken from a checkpoint."""
        return ()

    def __repr__(self) -> str:
        """The model and its input size."""
        return f"HubNetwork({self.model!r}, input_size={self.input_size})"

    @classmethod
    def of(
        cls,
        model: str,
        *,
        input_size: tuple[int, int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        interpolation: str | None = None,
        **given: Any,
    ) -> Self:
        """The network of this name. Loads no weights into memory, but downloads and hashes them.

        Args:
            model: "hf:" and a folder that `save_pretrained` wrote, or OWNER/NAME or OWNER/NAME@REVISION of the Hub.
            input_size: height and width of the input, pixels; needed where the processor asks for no one size.
            mean, std, interpolation: in the place of the processor's.
            given: other arguments of `Network.of`; only those that are None or empty have a place here.

        Raises:
            AnnotateError: it cannot be had or read, its processor is not followed, or a segmenter names no classes.
        """
        if wrong := sorted(name for name, value in given.items() if value):
            raise AnnotateError(
                f"{', '.join(wrong)} cannot be given for {model}: its configuration and weights lie in one folder. "
                "Change them there"
            )
        files = HubFolder.of(model)
        config = read_config(files.path, files.model)
        names = _class_names(config)
        if kind_of(config, files.model) != "classifier" and names is None:
            raise AnnotateError(
                f"the segmenter {files.model} does not name its classes (LABEL_0 and so on), and nothing would say "
                "what its map shows. Write their names into id2label of its config.json"
            )
        weights, settings = files.weights_hash(), read_processor(files.path, files.model)
        return cls(
            model=files.model,
            weights=weights,
            model_kwargs={"config": files.config_hash()},
            folder=files.path,
            names=names,
            **input_of(settings, files.model, input_size=input_size, mean=mean, std=std, interpolation=interpolation),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values with the keys of `Network.to_json`; `from_json` gives an equal network back."""
        kept = (each.name for each in fields(self) if each.name not in _OF_THIS_MACHINE)
        plain: dict[str, Any] = json.loads(json.dumps({name: getattr(self, name) for name in kept}))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The network of `to_json`'s values. It does not know its folder, which `build` looks for."""
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**frozen)

    def build(self) -> nn.Module:
        """A `HubClassifier`, which is one of timm's in form, or a `HubSegmenter`, which gives its own map.

        Raises:
            AnnotateError: it cannot be read, or is not what it was when the job began.
        """
        files = self._files()
        config = read_config(files.path, self.model)
        found = files.weights_hash(), {"config": files.config_hash()}
        if found != (self.weights, dict(self.model_kwargs)):
            raise AnnotateError(
                f"{self.model} in {files.path} has changed since the job began: expected weights {self.weights} and "
                f"configuration {self.model_kwargs.get('config')}, found {found[0]} and {found[1]['config']}. Restore "
                "its files, name the earlier revision as hf:OWNER/NAME@REVISION, or start a new job"
            )
        kind = kind_of(config, self.model)
        network = load(files.path, config, self.model)
        if kind == "classifier":
            from annotate.model.elsewhere.hf_classifier import HubClassifier

            return HubClassifier.of(network, self.model, self.input_size)
        from annotate.model.elsewhere.hf_segmenter import HubSegmenter

        return HubSegmenter(network, _class_names(config) or (), is_universal=kind == "universal")

    def class_names(self) -> tuple[str, ...] | None:
        """The names of its configuration; None if it has only LABEL_0 and so on."""
        return _class_names(read_config(self._files().path, self.model)) if self.folder is None else self.names

    def provenance(self, made: Any) -> dict[str, Any]:
        """Where its answers come from: the hash of the loaded weights, the network's class, and the Hub's commit."""
        files = self._files()
        hub = {"repository": self.model.removeprefix(PREFIX), "commit": files.commit, "hash": self.weights}
        about = {"state": state_hash(made.model), "full_name": self.model, "architecture": type(made.model).__name__}
        return about if files.commit is None else about | {"hub": hub}

    def _files(self) -> HubFolder:
        """Its folder, or where this machine has it, which may be another than the job's first."""
        is_here = self.folder is not None and self.folder.is_dir()
        return HubFolder(self.model, self.folder) if self.folder and is_here else HubFolder.of(self.model)


def _class_names(config: Any) -> tuple[str, ...] | None:
    """The names of id2label, in order; None where they are those that Transformers gives itself."""
    known = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    names = tuple(known.get(number, "") for number in range(len(known)))
    are_own = any(name != f"LABEL_{number}" for number, name in enumerate(names))
    return names if names and are_own and all(name.strip() for name in names) else None
