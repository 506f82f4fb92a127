"""What is `--model MODULE:FUNCTION`? A function of the user's, whose answer labels pictures as a timm network does.

    annotate run photos labels.zarr --model my_segmenter:make

imports `my_segmenter`, also from the folder that the command is called in, and calls `make()` once in each worker. What
it returns is a `DenseNetwork`: it gets pixels and gives a map. docs/annotators.md has two examples.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from annotate.errors import AnnotateError
from annotate.text import printable
from storage import Box

if TYPE_CHECKING:
    import torch

_OTHER_SOURCES = ("hf-hub", "hf_hub", "local-dir", "local_dir", "hf", "timm")
Scores = Literal["probabilities", "logits"]


class DenseNetwork(Protocol):
    """What the function of `--model MODULE:FUNCTION` returns: any callable with these attributes.

    Required:

    class_names: the names of its classes, in the order of its answer's last axis
    input_size:  height and width of its input, pixels
    gives:       "probabilities", which add up to at most 1 (what is missing belongs to no class), or "logits"

    Optional:

    box:           the part of its input that its map covers, a `Box`; the whole input if absent
    mean, std:     of its input's normalisation, for pixels in [0, 1]; 0 and 1 if absent
    interpolation: the filter that pictures are resized with; "bicubic" if absent
    to(device):    moves it to a device; a torch module has it
    """

    class_names: Sequence[str]
    input_size: tuple[int, int]
    gives: Scores

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """The map for normalised pixels float32 [b, 3, H, W]: float [b, h, w, classes], the same h and w every time."""


def is_function(model: str) -> bool:
    """Whether a name means a function, MODULE:FUNCTION, and no network of timm's."""
    module, colon, function = model.partition(":")
    is_dotted = all(part.isidentifier() for part in module.split("."))
    return bool(colon) and is_dotted and module.lower() not in _OTHER_SOURCES and function.isidentifier()


@dataclass(frozen=True, kw_only=True, repr=False)
class FunctionNetwork:
    """A function that makes a `DenseNetwork`, and the input that this takes. The fields are those of `Network`.

    model:          MODULE:FUNCTION
    weights:        "sha256:" and the hash of the file of that module
    model_kwargs:   always empty; a function has no arguments
    names:          of its classes, as it gave them when this was made; ignored by == and left out of the JSON

    Raises:
        AnnotateError: the module cannot be imported, has no such function, or what it made lacks an attribute.
    """

    model: str
    weights: str
    input_size: tuple[int, int]
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bicubic"
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """None: nothing is taken from a checkpoint."""
        return ()

    def __repr__(self) -> str:
        """The function and its input size."""
        return f"FunctionNetwork({self.model!r}, input_size={self.input_size})"

    @classmethod
    def of(cls, model: str, **given: Any) -> Self:
        """The network of this function, which is called once for its attributes.

        Args:
            model: MODULE:FUNCTION.
            given: arguments of `Network.of`; only those that are None or empty have a place here.
        """
        if wrong := sorted(name for name, value in given.items() if value):
            raise AnnotateError(
                f"{', '.join(wrong)} cannot be given for the function {model}: what it returns says its own input "
                "size, mean, std and interpolation, and loads its own weights. Write them into the function"
            )
        made = _made(model)
        _check(model, made)
        return cls(
            model=model,
            weights=_source_hash(model),
            input_size=(int(made.input_size[0]), int(made.input_size[1])),
            mean=_three(model, made, "mean", 0.0),
            std=_three(model, made, "std", 1.0),
            interpolation=str(getattr(made, "interpolation", "bicubic")),
            names=tuple(made.class_names),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values with the keys of `Network.to_json`; `from_json` gives an equal network back."""
        kept = (each.name for each in fields(self) if each.name != "names")
        plain: dict[str, Any] = json.loads(json.dumps({name: getattr(self, name) for name in kept}))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The network of `to_json`'s values."""
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**frozen)

    def build(self) -> DenseNetwork:
        """What the function returns, with its attributes checked.

        Raises:
            AnnotateError: it cannot be made, or its module is not what it was when the job began.
        """
        if (found := _source_hash(self.model)) != self.weights:
            raise AnnotateError(
                f"the module of {self.model} has changed since the job began: its SHA-256 is {found}, expected "
                f"{self.weights}. Restore that file, or start a new job with the changed one"
            )
        made = _made(self.model)
        _check(self.model, made)
        return made

    def class_names(self) -> tuple[str, ...]:
        """The names that it gives."""
        return tuple(self.build().class_names) if self.names is None else self.names

    def provenance(self, made: object) -> dict[str, Any]:
        """Where its answers come from: the hash of its weights if it is a torch module, else of its module's file."""
        from torch import nn

        from annotate.model.network import state_hash

        state = state_hash(made) if isinstance(made, nn.Module) else self.weights
        return {"state": state, "full_name": self.model, "function": self.model}


def _made(model: str) -> Any:
    module, _, name = model.partition(":")
    function = getattr(_module(model), name, None)
    if not callable(function):
        raise AnnotateError(f"the module {module} has no function {name}; --model {model} names MODULE:FUNCTION")
    try:
        return function()
    except AnnotateError:
        raise
    except Exception as error:  # it is the user's own code
        raise AnnotateError(f"{model}() failed: {type(error).__name__}: {printable(str(error))}") from error


def _module(model: str) -> Any:
    name = model.partition(":")[0]
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as `python -m` has it; last, so that it hides no installed package
    try:
        return importlib.import_module(name)
    except Exception as error:  # it is the user's own code
        raise AnnotateError(
            f"cannot import the module {name} of --model {model}: {type(error).__name__}: {printable(str(error))}. It "
            "is looked for in the current folder and among the installed packages, on every machine of the job"
        ) from error


def _source_hash(model: str) -> str:
    try:
        file = inspect.getsourcefile(_module(model))
    except TypeError:  # a module that is no file
        file = None
    content = Path(file).read_bytes() if file else model.encode()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _check(model: str, made: Any) -> None:
    """Refuse what lacks an attribute of `DenseNetwork`, or has one of another kind."""
    if not callable(made):
        raise AnnotateError(f"{model}() returned {type(made).__name__}, which cannot be called with pixels")
    names = getattr(made, "class_names", None)
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or not names or not all(isinstance(each, str) and each.strip() for each in names):
        raise AnnotateError(f"{model}() needs class_names, a list of texts that are not empty; found {names!r:.80}")
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise AnnotateError(f"{model}() has two classes of one name in class_names: {', '.join(twice[:5])}")
    size = getattr(made, "input_size", None)
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise AnnotateError(f"{model}() needs input_size, height and width in pixels; found {size!r}")
    if getattr(made, "gives", None) not in ("probabilities", "logits"):
        raise AnnotateError(
            f'{model}() needs gives, "probabilities" or "logits"; found {getattr(made, "gives", None)!r}'
        )
    if not isinstance(box := getattr(made, "box", Box.whole()), Box):
        raise AnnotateError(f"{model}() has a box that is no storage.Box: {box!r}")


def _three(model: str, made: Any, name: str, default: float) -> tuple[float, ...]:
    values = tuple(float(each) for each in getattr(made, name, (default,) * 3))
    if len(values) != 3 or (name == "std" and min(values) <= 0):
        raise AnnotateError(f"{model}() needs three numbers as {name}, above 0 if std; found {values}")
    return values
