"""Does every concept have a file of its own? Files are short, folders not full, and nothing imports in a circle."""

from __future__ import annotations

import ast
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("annotate", "networks", "storage", "tokenlabel")
FOLDERS = (*PACKAGES, "tests", "demo", "benchmarks", "examples")

LINES, FILES = 300, 12  # of .py files, and besides __init__.py; docs/ is an exception (docs/decisions/0005-rooms.md)
MADE = {"__pycache__", "out", "out-study"}  # folders that running something leaves
PICTURES = {".jpg", ".png"}  # of a collection: they are data, however many there are


def test_pytest_enters_every_folder_of_tests(pytestconfig: pytest.Config) -> None:
    """It leaves out folders of some names, such as dist, and reports nothing."""
    passed_over = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        for part in path.relative_to(ROOT).parts[:-1]
        if any(fnmatch(part, pattern) for pattern in pytestconfig.getini("norecursedirs"))
    ]
    assert passed_over == []


def files(root: Path, folders: tuple[str, ...]) -> Iterator[Path]:
    """All files below the folders of a checkout, but those that are made, and those of stores."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root).parts[:-1]
            if path.is_file() and not MADE & {*inside} and not any(part.endswith(".zarr") for part in inside):
                yield path


def modules(root: Path, folders: tuple[str, ...]) -> dict[str, Path]:
    """The Python files below the folders, and cli.py, by the names by which they are imported."""
    paths = [path for path in files(root, folders) if path.suffix == ".py"]
    paths += [path for path in (root / "cli.py",) if path.exists()]
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(paths)
    }


def imports(module: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    """Which of the known modules a file names: at its top, in a function, for types alone, or in a string.

    A string counts where it is the dotted name of a file, as in tables of what is imported when it is needed; that of a
    package may be where a package's data lies.
    """
    named: set[str] = set()
    dotted = {name for name, file in known.items() if "." in name and file.name != "__init__.py"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative to this package, or to one above it
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                named.add(inner if inner in known else base)
        elif isinstance(node, ast.Constant) and node.value in dotted:
            named.add(node.value)
    return named & known.keys() - {module}


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """For each group of modules that import each other, its shortest circle: "a imports b imports a"."""
    found: dict[frozenset[str], list[str]] = {}
    for start in graph:
        before: dict[str, str] = {}
        waiting = deque([start])
        while waiting and start not in before:
            module = waiting.popleft()
            for other in sorted(graph[module]):
                if other not in before:
                    before[other] = module
                    waiting.append(other)
        if start in before:
            circle = [start]
            while len(circle) == 1 or circle[-1] != start:
                circle.append(before[circle[-1]])
            found.setdefault(frozenset(circle), circle[::-1])
    shortest: list[list[str]] = []
    for circle in sorted(found.values(), key=len):
        if not any({*circle} & {*other} for other in shortest):
            shortest.append(circle)
    return [" imports ".join(circle) for circle in shortest]


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules(ROOT, FOLDERS).values()}
    long = {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LINES}
    assert not long, f"what is the second concept in each of {long}? It gets a file of its own"


def test_no_folder_has_more_than_12_loose_files() -> None:
    count = Counter(
        path.parent.relative_to(ROOT)
        for path in files(ROOT, FOLDERS)
        if path.name != "__init__.py" and path.suffix not in PICTURES
    )
    full = {str(folder): number for folder, number in count.items() if number > FILES}
    assert not full, f"what are the rooms in each of {full}?"


def test_every_room_has_a_room_of_tests() -> None:
    rooms = {path.parent for path in modules(ROOT, PACKAGES).values() if path.name != "__init__.py"} - {ROOT}
    assert [str(room) for room in rooms if not (ROOT / "tests" / room.relative_to(ROOT)).is_dir()] == []


def test_no_files_import_in_a_circle() -> None:
    known = modules(ROOT, PACKAGES)
    assert not (found := circles({module: imports(module, path, known) for module, path in known.items()})), found


def test_every_module_opens_with_the_question_that_it_answers() -> None:
    silent = []
    for name, path in modules(ROOT, FOLDERS).items():
        tree = ast.parse(path.read_text())
        if tree.body and "?" not in (ast.get_docstring(tree) or "").partition("\n")[0]:
            silent.append(name)
    assert not silent, "the first line of its docstring asks nothing"


def test_a_circle_is_found_wherever_the_import_stands(tmp_path: Path) -> None:
    """In a function, for types, relative, through a package, or by name."""
    texts = {
        "storage/__init__.py": "from storage.a import A",
        "storage/a.py": "def make():\n    from storage import b\n    return b",
        "storage/b.py": "if TYPE_CHECKING:\n    from .c.d import D",
        "storage/c/__init__.py": "",
        "storage/c/d.py": "import numpy\nfrom ..e import E",
        "storage/e.py": 'TABLE = {"e": "storage.a"}\nDATA = files("storage.c")',
        "storage/f.py": "import storage\nimport storage.f",
        "storage/g.py": "from storage.e import E",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    known = modules(tmp_path, PACKAGES)
    graph = {module: imports(module, path, known) for module, path in known.items()}
    assert graph["storage.f"] == {"storage"}
    assert circles(graph) == ["storage.a imports storage.b imports storage.c.d imports storage.e imports storage.a"]
    assert circles({**graph, "storage.e": set()}) == []
    assert circles({**graph, "storage.e": {"storage"}}) != []
