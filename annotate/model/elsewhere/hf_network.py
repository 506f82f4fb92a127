"""What is `--model hf:NAME`? A classifier, segmenter or encoder of Transformers, and the input that it asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError
from annotate.model.elsewhere.hf_folder import PREFIX, HubFolder
from annotate.model.elsewhere.hf_library import (
    ENCODERS,
    OTHER_ENCODERS,
    kind_of,
    load,
    read_config,
    read_processor,
    read_tokenizer,
)
from annotate.model.elsewhere.hf_processor import input_of
from annotate.model.elsewhere.vocabulary import Vocabulary
from annotate.model.network import Network, state_hash

if TYPE_CHECKING:
    from torch import nn

_OF_THIS_MACHINE = ("folder", "names", "texts")


def is_of_transformers(model: str) -> bool:
    """Whether a name means a network of Transformers, hf:NAME."""
    return model.startswith(PREFIX)


@dataclass(frozen=True, kw_only=True, repr=False)
class HubNetwork:
    """A network that Transformers has saved, here or on the Hub. The fields are those of `Network`.

    model:          "hf:" and OWNER/NAME, with @REVISION if it was given; or the name of a folder
    weights:        "sha256:" and the hash of its safetensors
    model_kwargs:   the hash of its configuration, without the names of classes, as "config"; of an encoder also the
                    vocabulary, as "vocabulary", and the hash of its embeddings, as "texts"
    folder:         where it is on this machine, None if it is not known; ignored by == and left out of the JSON
    names:          of its classes, None if it has none of its own; ignored and left out as well
    texts:          the embeddings of the vocabulary, None if they are not known; ignored and left out as well

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
    texts: NDArray[np.float32] | None = field(default=None, compare=False)

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
        vocabulary: Vocabulary | None = None,
        **given: Any,
    ) -> Self:
        """The network of this name. Downloads and hashes its weights, and loads them only to read a vocabulary.

        Args:
            model: "hf:" and a folder that `save_pretrained` wrote, or OWNER/NAME or OWNER/NAME@REVISION of the Hub.
            input_size: height and width of the input, pixels; needed where the processor asks for no one size.
            mean, std, interpolation: in the place of the processor's.
            vocabulary: the names of an encoder of pictures and text, which has no classes of its own.
            given: other arguments of `Network.of`; only those that are None or empty have a place here.

        Raises:
            AnnotateError: it cannot be had or read, its processor is not followed, a segmenter names no classes, or a
                vocabulary is missing or has no place.
        """
        if wrong := sorted(name for name, value in given.items() if value):
            raise AnnotateError(
                f"{', '.join(wrong)} cannot be given for {model}: its configuration and weights lie in one folder. "
                "Change them there"
            )
        files = HubFolder.of(model)
        config = read_config(files.path, files.model)
        _check_vocabulary(config, files.model, vocabulary)
        names = _class_names(config) if vocabulary is None else vocabulary.names
        if vocabulary is None and kind_of(config, files.model) != "classifier" and names is None:
            raise AnnotateError(
                f"the segmenter {files.model} does not name its classes (LABEL_0 and so on), and nothing would say "
                "what its map shows. Write their names into id2label of its config.json"
            )
        weights, settings = files.weights_hash(), read_processor(files.path, files.model)
        wanted = input_of(settings, files.model, input_size=input_size, mean=mean, std=std, interpolation=interpolation)
        about: dict[str, Any] = {"config": files.config_hash()}
        texts = None
        if vocabulary is not None:
            from annotate.model.elsewhere.hf_encoder import texts_hash

            texts = _embedded(load(files.path, config, files.model), files, vocabulary)
            about |= {"vocabulary": vocabulary.to_json(), "texts": texts_hash(texts)}
        return cls(
            model=files.model,
            weights=weights,
            model_kwargs=about,
            folder=files.path,
            names=names,
            texts=texts,
            **wanted,
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
        """A `HubClassifier` or `HubEncoder`, one of timm's in form, or a `HubSegmenter`, which gives its own map.

        Raises:
            AnnotateError: it cannot be read, or is not what it was when the job began.
        """
        files = self._files()
        config = read_config(files.path, self.model)
        found, expected = (files.weights_hash(), files.config_hash()), self.model_kwargs.get("config")
        if found != (self.weights, expected):
            raise AnnotateError(
                f"{self.model} in {files.path} has changed since the job began: expected weights {self.weights} and "
                f"configuration {expected}, found {found[0]} and {found[1]}. Restore "
                "its files, name the earlier revision as hf:OWNER/NAME@REVISION, or start a new job"
            )
        kind = kind_of(config, self.model)
        network = load(files.path, config, self.model)
        if kind == "classifier":
            from annotate.model.elsewhere.hf_classifier import HubClassifier

            return HubClassifier.of(network, self.model, self.input_size)
        if kind == "encoder":
            return self._encoder(network, files)
        from annotate.model.elsewhere.hf_segmenter import HubSegmenter

        return HubSegmenter(network, _class_names(config) or (), is_universal=kind == "universal")

    def class_names(self) -> tuple[str, ...] | None:
        """The names of its configuration; None if it has only LABEL_0 and so on."""
        if (words := self.model_kwargs.get("vocabulary")) is not None:
            return Vocabulary.from_json(words).names
        return _class_names(read_config(self._files().path, self.model)) if self.folder is None else self.names

    def provenance(self, made: Any) -> dict[str, Any]:
        """Where its answers come from: the hash of the loaded weights, the network's class, and the Hub's commit."""
        files = self._files()
        hub = {"repository": self.model.removeprefix(PREFIX), "commit": files.commit, "hash": self.weights}
        about = {"state": state_hash(made.model), "full_name": self.model, "architecture": type(made.model).__name__}
        if "vocabulary" in self.model_kwargs:
            about |= {"scale": made.scale, "bias": made.bias}
        return about if files.commit is None else about | {"hub": hub}

    def _encoder(self, network: Any, files: HubFolder) -> nn.Module:
        """The encoder with the texts of its vocabulary, which must be those of the recipe."""
        from annotate.model.elsewhere.hf_encoder import HubEncoder, texts_hash

        vocabulary = Vocabulary.from_json(self.model_kwargs["vocabulary"])
        texts = _embedded(network, files, vocabulary) if self.texts is None else self.texts
        if (found := texts_hash(texts)) != self.model_kwargs["texts"]:
            raise AnnotateError(
                f"the texts of the vocabulary have other embeddings by {self.model} in {files.path} than when the job "
                f"began: expected {self.model_kwargs['texts']}, found {found}. Restore its tokenizer's files and the "
                "version of Transformers, or start a new job"
            )
        return HubEncoder.of(network, self.model, texts, vocabulary)

    def _files(self) -> HubFolder:
        """Its folder, or where this machine has it, which may be another than the job's first."""
        is_here = self.folder is not None and self.folder.is_dir()
        return HubFolder(self.model, self.folder) if self.folder and is_here else HubFolder.of(self.model)


def _check_vocabulary(config: Any, model: str, vocabulary: Vocabulary | None) -> None:
    """Refuse an encoder without a vocabulary, and a vocabulary without one."""
    named = (getattr(config, "architectures", None) or ["no network"])[0]
    if vocabulary is not None and named not in ENCODERS:
        why = OTHER_ENCODERS.get(
            named, "has no text tower. Leave --vocabulary out for networks with classes of its own"
        )
        raise AnnotateError(
            f"no vocabulary can be read with {model}: {named}, which its config.json names in architectures, {why}. "
            f"Expected one of {', '.join(ENCODERS)}"
        )
    if vocabulary is None and named in ENCODERS:
        raise AnnotateError(
            f"{model} is an encoder of pictures and text, and has no classes of its own. Give their names with "
            "--vocabulary names.txt, one a line (docs/annotators.md)"
        )


def _embedded(network: Any, files: HubFolder, vocabulary: Vocabulary) -> NDArray[np.float32]:
    """The embeddings of a vocabulary's texts."""
    from annotate.model.elsewhere.hf_encoder import embedded

    return embedded(network, read_tokenizer(files.path, files.model), vocabulary, files.model)


def _class_names(config: Any) -> tuple[str, ...] | None:
    """The names of id2label, in order; None where they are those that Transformers gives itself."""
    known = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    names = tuple(known.get(number, "") for number in range(len(known)))
    are_own = any(name != f"LABEL_{number}" for number, name in enumerate(names))
    return names if names and are_own and all(name.strip() for name in names) else None
