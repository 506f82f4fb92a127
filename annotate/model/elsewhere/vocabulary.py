"""Which names does an encoder of pictures and text label with? Those of a file, and a background that takes the rest.

    cat                                   a name, which is its own prompt
    sofa: sofa; couch                     a name and its prompts
    [background]: sky; wall; grass        names whose probability belongs to no class
    [templates]: a photo of a {}.; {}     each prompt is put into each of these

An empty line, or one that begins with #, says nothing. A name has no colon, no semicolon, and no [ at its beginning.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from annotate.errors import AnnotateError

Threshold = float | Literal["own"]
_BACKGROUND, _TEMPLATES = "[background]", "[templates]"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Vocabulary:
    """Names and their prompts, and what is none of them.

    names:      of the classes
    prompts:    of each name, one or more texts
    background: names whose probability is left out of the labels, in their remainder
    templates:  texts with {}, into which each prompt and background name is put
    threshold:  the cosine of a background that has no name; "own" is the one from which SigLIP takes a text for true

    Raises:
        AnnotateError: a name is empty or doubled, nothing is the background, or a template has no {}.

    >>> from annotate import Vocabulary
    >>> words = Vocabulary(names=("cat", "sofa"), prompts=(("cat",), ("sofa", "couch")), background=("wall",))
    >>> words.texts()
    (('cat',), ('sofa', 'couch'), ('wall',))
    """

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    background: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("{}",)
    threshold: Threshold | None = None

    def __post_init__(self) -> None:
        """Check what the class says."""
        if not self.names:
            raise AnnotateError("the vocabulary has no names; expected one name a line")
        if len(self.prompts) != len(self.names):
            raise AnnotateError(f"the vocabulary has {len(self.names)} names, and prompts of {len(self.prompts)}")
        for text in (*self.names, *self.background, *self.templates, *(text for each in self.prompts for text in each)):
            if not text.strip():
                raise AnnotateError("the vocabulary has an empty name, prompt or template; write it, or leave it out")
        if without := [name for name, each in zip(self.names, self.prompts, strict=True) if not each]:
            raise AnnotateError(f"the name {without[0]} of the vocabulary has no prompt; leave out the colon after it")
        counts = Counter(map(_as_read, (*self.names, *self.background)))
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise AnnotateError(
                f"the vocabulary has a name twice, among classes and background: {', '.join(twice[:5])}. Two would "
                "share its probability; give each once"
            )
        if wrong := [text for text in self.templates if "{}" not in text]:
            raise AnnotateError(f"the template {wrong[0]!r} of the vocabulary has no {{}} for the name to stand in")
        if not self.templates:
            raise AnnotateError(f"the vocabulary has no templates; leave {_TEMPLATES} out for the prompts as they are")
        if not self.background and self.threshold is None:
            raise AnnotateError(
                "the vocabulary has no background, so that each location would be given to one of its names, whatever "
                f"it shows. Write a line such as {_BACKGROUND}: sky; wall; grass, or give --threshold COSINE, which "
                "`annotate calibrate --background` finds"
            )
        if self.threshold is not None and self.threshold != "own" and not -1 <= self.threshold <= 1:
            raise AnnotateError(f"the threshold is a cosine from -1 to 1, or own; not {self.threshold}")

    def __repr__(self) -> str:
        """How many names there are, the first of them, and the background."""
        shown = ", ".join(self.names[:2]) + ", …" * (len(self.names) > 2)
        threshold = "" if self.threshold is None else f", threshold={self.threshold!r}"
        return f"Vocabulary({len(self.names)} names: {shown:.60}; background of {len(self.background)}{threshold})"

    @classmethod
    def read(cls, path: Path, threshold: Threshold | None = None) -> Self:
        """That of a file; see the top of this module.

        Raises:
            AnnotateError: it cannot be read, has no names, or what it says is refused.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise AnnotateError(f"cannot read the vocabulary {path}: {error}") from error
        names: list[str] = []
        prompts: list[tuple[str, ...]] = []
        special: dict[str, tuple[str, ...]] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, colon, rest = (part.strip() for part in line.partition(":"))
            texts = tuple(text.strip() for text in rest.split(";")) if rest else ()
            if name in (_BACKGROUND, _TEMPLATES):
                if name in special or not texts:
                    raise AnnotateError(f"{path}, line {number}: {name} must be there once, with texts after a colon")
                special[name] = texts
            elif not name or (colon and not all(texts or ("",))):
                raise AnnotateError(
                    f"{path}, line {number}: {line.strip()!r} has an empty name or prompt; expected NAME, or "
                    "NAME: PROMPT; PROMPT"
                )
            elif name.startswith("[") or ";" in name:
                raise AnnotateError(
                    f"{path}, line {number}: {line.strip()!r} is no name: one begins with no [ and has no semicolon; "
                    f"expected NAME, or NAME: PROMPT; PROMPT, or {_BACKGROUND}: or {_TEMPLATES}: with texts after it"
                )
            else:
                names.append(name)
                prompts.append(texts or (name,))
        try:
            return cls(
                names=tuple(names),
                prompts=tuple(prompts),
                background=special.get(_BACKGROUND, ()),
                templates=special.get(_TEMPLATES, ("{}",)),
                threshold=threshold,
            )
        except AnnotateError as error:
            raise AnnotateError(f"{path}: {error}") from error

    def texts(self) -> tuple[tuple[str, ...], ...]:
        """What is read for each name, then for each background name: its prompts in all templates."""
        of_each = (*self.prompts, *((name,) for name in self.background))
        return tuple(
            tuple(template.replace("{}", prompt) for prompt in prompts for template in self.templates)
            for prompts in of_each
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal vocabulary back."""
        return {
            "names": list(self.names),
            "prompts": [list(each) for each in self.prompts],
            "background": list(self.background),
            "templates": list(self.templates),
            "threshold": self.threshold,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The vocabulary of `to_json`'s values."""
        texts: dict[str, Sequence[str]] = {name: values[name] for name in ("names", "background", "templates")}
        return cls(
            **{name: tuple(each) for name, each in texts.items()},
            prompts=tuple(tuple(each) for each in values["prompts"]),
            threshold=values["threshold"],
        )


def _as_read(name: str) -> str:
    """A name as people read it: one code for each letter with its accents, and one space between words."""
    return " ".join(unicodedata.normalize("NFC", name).split())
