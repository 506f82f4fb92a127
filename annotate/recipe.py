"""What decides a label? The Recipe: frozen, JSON, the store's provenance, and the reason to refuse a mixed store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from annotate.errors import AnnotateError
from annotate.network import Network
from annotate.preprocess import Mode

Head = Literal["local", "frozen"]
Exif = Literal["ignore", "apply"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a label, but for the picture.

    networks:       whose probabilities are averaged; the first one's grid is the labels'
    preprocess:     how a picture is fitted to their inputs; see annotate/preprocess.py
    exif:           "ignore" or "apply": what is done about a picture's EXIF orientation
    head:           "local" or "frozen": how the classifiers are asked at each location; see annotate/dense.py
    flip:           whether each network sees each picture mirrored, too
    scales:         at which multiples of its input size each network looks; 1.0 is one of them
    temperature:    by which logits are divided before the softmax
    precision:      the floating-point type of the networks: "float32", or "bfloat16" where autocast uses it

    Raises:
        AnnotateError: a field is out of its range.
    """

    networks: tuple[Network, ...]
    preprocess: Mode = "squash"
    exif: Exif = "ignore"
    head: Head = "local"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    temperature: float = 1.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Refuse fields out of range."""
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
                "scales must be different numbers from 0.1 to 10 with 1.0 among them, where a network's grid is "
                f"that of the labels; not {', '.join(map(str, self.scales))}"
            )
        if not 0.01 <= self.temperature <= 100:
            raise AnnotateError(f"the temperature must be from 0.01 to 100, not {self.temperature}")

    @classmethod
    def for_model(cls, model: str, *, preprocess: Mode = "squash", **network: Any) -> Self:
        """The recipe of one network that looks once. Loads no weights; see `Network.of` for the arguments.

        Raises:
            AnnotateError: timm has no such model, or the checkpoint cannot be read.
        """
        return cls(networks=(Network.of(model, **network),), preprocess=preprocess)

    @property
    def looks(self) -> int:
        """How many times a network sees each picture."""
        return len(self.networks) * len(self.scales) * (2 if self.flip else 1)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal recipe back."""
        values = asdict(self) | {"networks": [network.to_json() for network in self.networks]}
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of `to_json`'s values. Its networks know no checkpoint."""
        networks = tuple(Network.from_json(network) for network in values["networks"])
        return cls(**{**values, "networks": networks, "scales": tuple(values["scales"])})

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes that the networks share, or None where none of them has any.

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


def annotator_of(recipe: Mapping[str, Any]) -> str:
    """The networks that a store's recipe names, for a person: "a + b", or "unknown annotator"."""
    return " + ".join(str(network.get("model")) for network in networks_of(recipe)) or "unknown annotator"


def networks_of(recipe: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The networks that a store's recipe names; none where it names them in another way."""
    networks = recipe.get("networks")
    return [each for each in networks if isinstance(each, Mapping)] if isinstance(networks, list | tuple) else []
