"""Are the packages that Python finds those of this distribution? Asked by the first import, and by the command."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# Other distributions have folders of these names. This file's own name belongs to nobody else, so that it is found.
PACKAGES = ("annotate", "networks", "storage", "tokenlabel")
MARK = b'\n__distribution__ = "tokenlabel"\n'


def check(*packages: str) -> None:
    """Look at which files Python would import, without importing them.

    Raises:
        ImportError: one of the packages is not beside this file, or its file is not ours; names the file, and says
            what to do.
    """
    for name in packages:
        ours = Path(__file__).parent / name / "__init__.py"
        spec = find_spec(name)
        found = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if found is None:
            raise ImportError(
                f"tokenlabel imports its package `{name}`, which Python does not find; it was installed as {ours}. "
                "Install it again: pip install --force-reinstall --no-deps tokenlabel"
            )
        if not ours.exists() or not Path(found).samefile(ours):
            raise ImportError(
                f"tokenlabel imports its package `{name}`, and Python finds another one first: {found}; "
                f"expected {ours}. Start Python in another folder, rename the other package, or take its folder "
                "out of PYTHONPATH"
            )
        if MARK not in ours.read_bytes().replace(b"\r\n", b"\n"):
            raise ImportError(
                f"tokenlabel imports its package `{name}`, but the file {ours} belongs to another distribution, "
                f"which was installed over it{_whose(name)}. Give tokenlabel an environment of its own; or uninstall "
                "the other one, then: pip install --force-reinstall --no-deps tokenlabel"
            )


def _whose(package: str) -> str:
    """The names of the other distributions that have installed a package of this name."""
    from importlib.metadata import packages_distributions  # only after an error: slow

    others = {*packages_distributions().get(package, ())} - {"tokenlabel"}
    return f" ({', '.join(sorted(others))})" if others else ""


check("networks", "storage")  # what both others import


def main() -> None:
    """The command `annotate`, once all packages are ours."""
    check(*PACKAGES)
    from annotate.__main__ import main as annotate

    annotate()
