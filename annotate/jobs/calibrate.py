"""Which temperature makes confidence match accuracy? The one fitted on pictures whose classes are known.

T is the temperature under which the pictures' own classes are most likely [Guo et al. 2017, arXiv 1706.04599]:

    T = argmin_T  mean over pictures of  -log p_T(class),    p_T = mean over passes of softmax(logits / T)

The softmax is that of labels: also over what belongs to no class, such as a vocabulary's background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from annotate.class_names import Names
from annotate.errors import AnnotateError
from annotate.images.elsewhere import about_classes
from annotate.images.source import ImageSource
from annotate.jobs.sample import batches, chosen
from annotate.model.annotator import Annotator
from annotate.model.model_name import imagenet_synsets

_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted temperature, and how well calibrated the networks are with and without it.

    temperature: the fitted T, 0.01 to 100
    pictures:    how many it was fitted on
    accuracy:    fraction of them whose best class is correct; with one pass, the temperature does not change it
    nll:         mean negative log-likelihood of the pictures' own classes, nats, at temperature 1 and at the fitted one
    error:       expected calibration error in 15 bins of confidence, at temperature 1 and at the fitted one
    """

    temperature: float
    pictures: int
    accuracy: float
    nll: tuple[float, float]
    error: tuple[float, float]

    def describe(self) -> str:
        """The figures, as text for the user."""
        return "\n".join(
            [
                f"temperature        {self.temperature:.3f}, fitted on {self.pictures:,} pictures, "
                f"{100 * self.accuracy:.1f} % of them classified correctly",
                f"negative log-lik.  {self.nll[0]:.4f} nats at temperature 1, {self.nll[1]:.4f} at the fitted one",
                f"calibration error  {self.error[0]:.4f} at temperature 1, {self.error[1]:.4f} at the fitted one",
            ]
        )

    def to_toml(self) -> str:
        """The temperature as settings for `annotate run --config`, with the figures as comments."""
        comment = "".join(f"# {line}\n" for line in self.describe().splitlines())
        return f"{comment}temperature = {self.temperature:.4f}\n"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "temperature": self.temperature,
            "pictures": self.pictures,
            "accuracy": self.accuracy,
            "nll": list(self.nll),
            "error": list(self.error),
        }


def calibrate(
    source: ImageSource,
    annotator: Annotator,
    class_names: Sequence[str] | None,
    *,
    count: int = 2000,
    batch_size: int = 32,
    on_pictures: Callable[[int], None] = lambda pictures: None,
) -> Calibration:
    """Fit the temperature on pictures whose classes are known, so that confidence matches accuracy.

    Args:
        source: pictures with targets. Where these have names, each is the name of one of the networks' classes, a part
            of it between commas, its ImageNet synset, or for networks without names its number; pictures of other
            classes are not used. Where they have none, they are the numbers of the networks' classes.
        annotator: the networks, in the precision in which they will label: the temperature belongs to both.
        class_names: names of the networks' classes.
        count: number of pictures to use, chosen at random, the same ones each time.
        batch_size: pictures in one forward pass.
        on_pictures: called with the number of pictures after each batch.

    Raises:
        AnnotateError: the pictures have no classes, or none of the networks' classes, or one that several of these are
            called; or no picture can be read and has a finite answer.

    With pictures in images/ of the classes a and b, a folder for each, and a checkpoint for 10 classes:

    >>> from pathlib import Path
    >>> from annotate import Annotator, Recipe, calibrate, open_images
    >>> recipe = Recipe.for_model(
    ...     "test_resnet", checkpoint=Path("weights.safetensors"), input_size=(64, 64), model_kwargs={"num_classes": 10}
    ... )
    >>> found = calibrate(open_images("images"), Annotator(recipe, k=1), tuple("abcdefghij"))
    >>> found.pictures, 0.01 <= found.temperature <= 100
    (2, True)
    """
    numbers = _numbers(source, class_names, annotator.class_count)
    rows = [row for row in range(len(source.keys)) if numbers[row] >= 0]
    logits, classes = [], []
    for batch in batches(source, chosen(rows, count), annotator.recipe, batch_size):
        if batch.pictures:
            found = annotator.picture_logits(batch.pictures, with_rest=True)
            finite = found.isfinite().all(-1).all(0)  # a run gives the others no label either
            logits.append(found[:, finite])
            classes += [numbers[row] for row, usable in zip(batch.rows, finite.tolist(), strict=True) if usable]
        on_pictures(batch.asked)
    if not classes:
        raise AnnotateError(
            "cannot calibrate: none of the chosen pictures can be read and has a finite answer; check the collection, "
            "or give more with --count"
        )
    return fit(torch.cat(logits, 1), torch.tensor(classes))


def fit(logits: torch.Tensor, classes: torch.Tensor) -> Calibration:
    """Fit the temperature to logits [passes, n, classes and more] and the classes int64 [n] of n pictures."""
    logits = logits.double()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = _nll(logits, classes, log_temperature.exp())
        value.backward()
        return value

    optimizer.step(loss)
    temperature = log_temperature.detach().exp().clamp(0.01, 100)
    before, after = (_probabilities(logits, t) for t in (torch.ones(()), temperature))
    return Calibration(
        temperature=float(temperature),
        pictures=len(classes),
        accuracy=float((after.argmax(-1) == classes).double().mean()),
        nll=(float(_nll(logits, classes, torch.ones(()))), float(_nll(logits, classes, temperature))),
        error=(calibration_error(before, classes), calibration_error(after, classes)),
    )


def calibration_error(probabilities: torch.Tensor, classes: torch.Tensor) -> float:
    """The expected calibration error of probabilities [n, classes]: |confidence − accuracy|, the mean over bins."""
    confidence, best = probabilities.max(-1)
    right = (best == classes).double()
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    difference = torch.zeros(_BINS, dtype=torch.float64).index_add(0, bins, right - confidence.double())
    return float(difference.abs().sum() / len(classes))


def _probabilities(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    return (logits / temperature).softmax(-1).mean(0)


def _nll(logits: torch.Tensor, classes: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    chosen = (logits / temperature).log_softmax(-1)[:, torch.arange(len(classes)), classes]
    return -(chosen.logsumexp(0) - torch.tensor(len(logits)).log()).mean()


def _numbers(source: ImageSource, class_names: Sequence[str] | None, class_count: int) -> list[int]:
    """The number of each picture's class among the networks' classes, or -1."""
    if source.targets is None:
        how = about_classes(source) or "give a folder with one folder for each class"
        raise AnnotateError(f"cannot calibrate: the pictures have no classes; {how}")
    targets = [int(target) for target in source.targets]
    if source.target_names is None:
        if (largest := max(targets)) >= class_count:
            raise AnnotateError(_beyond(largest, class_count))
        return targets
    numbers = _numbers_of(source.target_names, class_names, class_count)
    if max(numbers) < 0:
        raise AnnotateError(
            f"cannot calibrate: none of the pictures' classes ({', '.join(source.target_names[:3])}, …) is "
            f"named like one of the network's ({', '.join(list(class_names or ())[:3]) or 'which has no names'}, …)"
            "; --names FILE names the network's classes"
        )
    return [numbers[target] if target >= 0 else -1 for target in targets]


def _beyond(number: int, class_count: int) -> str:
    return (
        f"cannot calibrate: the pictures' classes are numbers up to {number} or more, but the networks have "
        f"{class_count} classes, 0 to {class_count - 1}; number the pictures' classes as the networks do"
    )


def _ambiguous(name: str, found: Mapping[int, str], synsets: Sequence[str]) -> str:
    """That a name means these classes, by number and name; and by what the one that is meant can be called."""
    said = [f"{number} ({', '.join([known, *synsets[number:][:1]])})" for number, known in found.items()]
    ways = ["its full name"] * (len({*found.values()}) == len(found)) + ["its ImageNet synset"] * bool(synsets)
    return (
        f"cannot calibrate: the pictures' class {name!r} may be any of the network's classes {', '.join(said)}; "
        + (f"call it by {' or '.join(ways)}" if ways else "name the network's classes differently, with --names FILE")
        + ", or leave its pictures out"
    )


def _numbers_of(target_names: Sequence[str], class_names: Sequence[str] | None, class_count: int) -> list[int]:
    """The number of the networks' class that each name means, or -1.

    Raises:
        AnnotateError: a name means several classes.
    """
    names = Names(class_count, class_names)
    synsets = {name: number for number, name in enumerate(imagenet_synsets(class_count))}
    same = names.matching_each(target_names) if class_names is not None else [[] for _ in target_names]
    numbers = []
    for name, known in zip(target_names, same, strict=True):
        if len(known) > 1:
            raise AnnotateError(_ambiguous(name, {number: names[number] for number in known}, [*synsets]))
        # "007" may begin at 1, as folders of other datasets do: only the number as it is written is one.
        is_number = class_names is None and name.isdecimal() and str(int(name)) == name
        if is_number and int(name) >= class_count:
            raise AnnotateError(_beyond(int(name), class_count))
        numbers.append(known[0] if known else int(name) if is_number else synsets.get(name, -1))
    return numbers
