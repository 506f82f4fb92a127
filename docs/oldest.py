"""With which versions did `make oldest` run the tests? This writes them into docs/dependencies.md."""

from __future__ import annotations

import platform
import re
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

PAGE = Path(__file__).with_name("dependencies.md")
SETUP = Path(__file__).parents[1] / "setup.cfg"
HEADING = "## The oldest versions"
TABLE = "| package | in | oldest allowed | run on |\n|---|---|---|---|\n"
_NEWEST = ("trainers", "hf")  # extras that are run with the newest versions alone
_BOUND = re.compile(r"([A-Za-z0-9-]+)>=([0-9.]+)$")


def bounds() -> list[tuple[str, str, str]]:
    """Each package with a lower bound in setup.cfg, where it stands there, and the bound; not of `_NEWEST`."""
    config = ConfigParser()
    config.read(SETUP)
    lists = {"all": config["options"]["install_requires"], **config["options.extras_require"]}
    return [
        (found[1], place, found[2])
        for place, lines in lists.items()
        if place not in _NEWEST
        for line in lines.split()
        if (found := _BOUND.match(line))
    ]


def section() -> str:
    """The section of the page, in Markdown, with what is installed here."""
    rows = [f"| {name} | {place} | {bound} | {metadata.version(name)} |" for name, place, bound in bounds()]
    python = platform.python_version()
    return (
        f"{HEADING}\n\n`make oldest` installs these, here on Python {python}, runs all tests and writes this table. "
        "Packages without a bound are the newest that fit. The programs of other trainers, and Transformers, "
        "are not run with theirs."
        f"\n\n{TABLE}" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    text = PAGE.read_text()
    before, _, after = text.partition(HEADING)
    _, mark, rest = after.partition("\n## ")
    PAGE.write_text(before.rstrip() + "\n\n" + section() + (f"\n## {rest}" if mark else ""))
