"""What decides a label, apart from its picture? The Recipe, which a store keeps, and refuses to mix with others."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError
from annotate.images.decode import Exif, decode
from annotate.model.elsewhere.hf_network import HubNetwork, is_of_transformers
from annotate.model.elsewhere.own_function import FunctionNetwork, is_function
from annotate.model.network import Network
from annotate.model.preprocess import Mode

Head = Literal["local", "frozen"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """Everything that decides a label, except the picture.

    networks:       their probabilities are averaged; the labels have the box, and unless `grid` is given the grid, of
                    the first
    preprocess:     how a picture is fitted to their inputs: "squash", "letterbox" or "center"; see
                    annotate/model/preprocess.py
    exif:           "ignore" or "apply" the EXIF orientation of a picture
    white:          the value of white in grey pictures of more than 8 bits whose files do not state it; None leaves it
                    to their type, and those of 32 bits are refused: docs/pictures.md
    head:           "local" or "frozen": how the classifier is applied to each location; see annotate/model/dense.py and
                    annotate/model/heads
    flip:           test-time augmentation: each picture also passes through each network mirrored
    scales:         test-time augmentation: the multiples of the input size to label at; 1.0 is one of them
    temperature:    the logits are divided by it before the softmax
    grid:           rows and columns of the labels, at most those of the first network's map, whose probabilities are
                    averaged by area; None keeps its own
    precision:      of the networks' arithmetic: "float32", or "bfloat16" where autocast uses it

    Raises:
        AnnotateError: a field is out of range.

    >>> from dataclasses import replace
    >>> from annotate import Recipe
    >>> recipe = Recipe.for_model("resnet50.a1_in1k")
    >>> recipe
    Recipe('resnet50.a1_in1k')
    >>> augmented = replace(recipe, flip=True, scales=(0.8, 1.0))
    >>> augmented
    Recipe('resnet50.a1_in1k', flip=True, scales=(0.8, 1.0))
    >>> augmented.passes
    4
    """

    networks: tuple[Network | FunctionNetwork | HubNetwork, ...]
    preprocess: Mode = "squash"
    exif: Exif = "ignore"
    head: Head = "local"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    temperature: float = 1.0
    precision: Precision = "float32"
    white: float | None = None
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check that each field is in its range."""
        if not self.networks:
            raise AnnotateError("a recipe needs at least one network")
        for name, choices in (("preprocess", Mode), ("exif", Exif), ("head", Head), ("precision", Precision)):
            if getattr(self, name) not in (allowed := get_args(choices)):
                raise AnnotateError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if (
            1.0 not in self.scales
            or len(set(self.scales)) < len(self.scales)
            or not all(0.1 <= scale <= 10 for scale in self.scales)
        ):
            raise AnnotateError(
                "scales must be different numbers from 0.1 to 10, one of them 1.0, because the labels have the grid of "
                f"scale 1.0; not {', '.join(map(str, self.scales))}"
            )
        if not 0.01 <= self.temperature <= 100:
            raise AnnotateError(f"the temperature must be from 0.01 to 100, not {self.temperature}")
        if self.white is not None and not 0 < self.white < math.inf:
            raise AnnotateError(f"white must be a number above 0, not {self.white}")
        if self.grid is not None and min(self.grid) < 1:
            raise AnnotateError(f"the grid must have at least 1x1 locations, not {self.grid}")

    def __repr__(self) -> str:
        """The networks, and the other fields where they differ from their defaults."""
        shown = [repr(network.model) for network in self.networks]
        for each in fields(self):
            if each.name != "networks" and (value := getattr(self, each.name)) != each.default:
                shown.append(f"{each.name}={value!r}")
        return f"Recipe({', '.join(shown)})"

    @classmethod
    def for_model(cls, model: str, *, preprocess: Mode = "squash", **network: Any) -> Self:
        """The recipe of one network and one pass. Loads no weights; see `Network.of` for the arguments.

        A name MODULE:FUNCTION is a function of yours (see `DenseNetwork`), and hf:NAME a network of Transformers, for
        which a `vocabulary` may be given.

        Raises:
            AnnotateError: timm has no such model, or the checkpoint cannot be read.
        """
        return cls(networks=(network_of(model, **network),), preprocess=preprocess)

    @property
    def passes(self) -> int:
        """How many times each picture passes through a network: networks × scales × mirrored or not."""
        return len(self.networks) * len(self.scales) * (2 if self.flip else 1)

    def decode(self, data: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture of a file's bytes as this recipe sees it, uint8 [H, W, 3]; see `annotate.images.decode.decode`.

        Raises:
            PictureError: the bytes are no picture that can be labelled.
        """
        return decode(data, exif=self.exif, white=self.white)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on what the networks take from their checkpoints."""
        return tuple(note for network in self.networks for note in network.notes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal recipe back. A `white` or `grid` of None is left out."""
        values = asdict(self) | {"networks": [network.to_json() for network in self.networks]}
        for name in ("white", "grid"):
            if values[name] is None:
                del values[name]
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of `to_json`'s values. Its networks have no checkpoint file."""
        networks = tuple(_source_of(network["model"]).from_json(network) for network in values["networks"])
        grid = None if values.get("grid") is None else tuple(values["grid"])
        return cls(**{**values, "networks": networks, "scales": tuple(values["scales"]), "grid": grid})

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes that the networks share, or None if no network names them.

        Raises:
            AnnotateError: two networks disagree.
        """
        known = [(network, names) for network in self.networks if (names := network.class_names()) is not None]
        for network, names in known[1:]:
            first, expected = known[0]
            if names != expected:
                differing = [f"{a!r} and {b!r}" for a, b in zip(expected, names, strict=False) if a != b]
                why = f"{len(expected)} and {len(names)} names" if len(expected) != len(names) else differing[0]
                raise AnnotateError(
                    f"the networks {first.model} and {network.model} cannot be averaged: their classes are named "
                    f"differently ({why}); use networks of the same classes"
                )
        return known[0][1] if known else None


def network_of(model: str, **given: Any) -> Network | FunctionNetwork | HubNetwork:
    """The network of timm's name, of `hf:NAME`, or of a function MODULE:FUNCTION; see `Network.of` for the rest.

    Raises:
        AnnotateError: there is none, or it cannot be made.
    """
    if given.get("vocabulary") is None:
        given.pop("vocabulary", None)
    elif not is_of_transformers(model):
        raise AnnotateError(
            f"{model} has classes of its own, and no vocabulary can be given for it; use it with an encoder of "
            "pictures and text, --model hf:NAME"
        )
    return _source_of(model).of(model, **given)


def _source_of(model: str) -> type[Network | FunctionNetwork | HubNetwork]:
    if is_of_transformers(model):
        return HubNetwork
    return FunctionNetwork if is_function(model) else Network


def annotator_of(recipe: Mapping[str, Any]) -> str:
    """The networks that a store's recipe names, as text for the user: "a + b", or "unknown annotator"."""
    return " + ".join(str(network.get("model")) for network in networks_of(recipe)) or "unknown annotator"


def networks_of(recipe: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The networks that a store's recipe names; an empty list if the recipe has another form."""
    networks = recipe.get("networks")
    return [each for each in networks if isinstance(each, Mapping)] if isinstance(networks, list | tuple) else []
