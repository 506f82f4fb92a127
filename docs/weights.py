"""What does each extra weigh? `python -m docs.weights` prints the installed sizes that docs/dependencies.md gives."""

from __future__ import annotations

import configparser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SETTINGS = Path(__file__).parents[1] / "setup.cfg"
COMPILED = ("__pycache__",)  # what Python writes later is no part of a package


def needed(lines: list[str], known: frozenset[str] = frozenset()) -> set[str]:
    """The distributions that these requirements bring, besides known ones; those that are not installed end in "?"."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if name in found | known or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            found.add(f"{name}?")
            continue
        found.add(name)
        each = [Requirement(text) for text in requires]
        waiting += [
            one
            for one in each
            if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in ("", *need.extras))
        ]
        for one in waiting:  # an extra's marker has been judged above
            if one.marker and "extra" in str(one.marker):
                one.marker = None
    return found


def weight(name: str) -> int:
    """The bytes of a distribution's files."""
    files = distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files if not {*COMPILED} & {*file.parts}]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    """Print a Markdown table."""
    settings = configparser.ConfigParser()
    settings.read(SETTINGS)
    parts = {"": settings["options"]["install_requires"], **settings["options.extras_require"]}
    clean = {
        name: [line for line in text.splitlines() if line and not line.startswith("#")] for name, text in parts.items()
    }
    base = frozenset(needed(clean[""]))
    print("| installed | brings | MB |\n|---|---|---|")  # noqa: T201
    for extra, lines in clean.items():
        names = sorted(needed(lines, base if extra else frozenset()))
        missing = [name for name in names if name.endswith("?")]
        total = sum(weight(name) for name in names if name not in missing)
        label = f"`tokenlabel[{extra}]`, on top" if extra else "`tokenlabel`"
        note = f", without {', '.join(name[:-1] for name in missing)}, not installed here" if missing else ""
        print(f"| {label} | {len(names)} packages{note} | {total / 1e6:,.0f} |")  # noqa: T201
        if not extra:
            heavy = needed(["torch"])
            rest = sum(weight(name) for name in base - heavy)
            print(f"| without torch and what it needs | {len(base - heavy)} packages | {rest / 1e6:,.0f} |")  # noqa: T201


if __name__ == "__main__":
    main()
