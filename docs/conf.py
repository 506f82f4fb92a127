"""How do the Markdown pages become a site? Settings of Sphinx, for `make docs`."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # cli.py, for the reference of commands

project, author, release = "tokenlabel", "the authors of tokenlabel", metadata.version("tokenlabel")
copyright = f"{author}; Apache-2.0"  # noqa: A001, Sphinx's name
extensions = ["myst_nb", "sphinx_click"]
exclude_patterns: list[str] = []

# The notebook's outputs are those of its test.
nb_execution_mode = "off"
myst_heading_anchors = 4  # links to headings, as GitHub names them, are checked
myst_enable_extensions = ["deflist"]

smartquotes = False  # they would make one dash of the two of an option

html_theme = "furo"
html_title = "tokenlabel"
html_static_path: list[str] = []
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
# Everything is in the folder: no fonts or scripts from elsewhere, and the search's index is a script, which a browser
# reads from a file too.
html_use_opensearch = ""
html_show_search_summary = False  # it fetches pages, which browsers refuse in files


def setup(app: object) -> None:
    """Import all commands, which cli.py does only when one is called: sphinx-click reads the group's table.

    It also asks each option whether its default is shown, where `annotate` says so once for all.
    """
    import click

    from cli import main

    context = click.Context(main, info_name="annotate")
    main.commands = {name: command for name in main.commands if (command := main.get_command(context, name))}
    for command in main.commands.values():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(option.default, int | float | str):
                option.show_default = not isinstance(option.default, bool)
