"""Which versions of packages made the labels of a store? Its provenance names them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def versions(*packages: str) -> dict[str, str]:
    """The version of each package; "not installed" for what is used without, such as this one in a bare checkout."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
