"""What does the door of the command line show, and does it open fast?"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import EXAMPLES, SECTIONS, CommandGroup, main
from storage import open_store

ROOT = Path(__file__).parent.parent
NAMES = [name for commands in SECTIONS.values() for name in commands]


def shown(*words: str) -> str:
    """What the command prints on a terminal of 80 columns."""
    result = CliRunner().invoke(main, words, terminal_width=80, prog_name="annotate")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_help_documents_the_exit_codes() -> None:
    text = shown("--help")
    for line in (
        "0    done",
        "1    error",
        "2    wrong usage",
        "3    done as far",
        "4    verify",
        "5    verify",
        "130  interrupted",
    ):
        assert line in text
    assert [*main.commands] == NAMES
    for name in main.commands:
        assert shown(name, "--help")


def test_help_has_each_command_in_one_whole_line_in_the_order_of_work() -> None:
    lines = shown("--help").splitlines()
    places = [lines.index(f"  {name:<9}  {text}") for part in SECTIONS.values() for name, text in part.items()]
    assert places == sorted(places)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert "..." not in "".join(lines[places[0] :])


def test_the_page_of_the_command_line_has_all_commands_and_codes() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    for section, commands in SECTIONS.items():
        assert f"| {section.capitalize()} | {', '.join(f'`{name}`' for name in commands)} |" in page
    for code in (0, 1, 2, 3, 4, 130):
        assert f"| {code} | " in page


def test_the_sections_of_the_help_are_the_folders_of_the_commands() -> None:
    for section, commands in SECTIONS.items():
        files = {path.stem for path in (ROOT / "annotate/commands" / section).glob("[!_]*.py")}
        assert files == set(commands)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_says_in_a_whole_sentence_what_it_does(name: str) -> None:
    first, *_ = shown(name, "--help").split("\n\n")[1].strip().splitlines()
    assert first[0].isupper()
    assert max(map(len, shown(name, "--help").splitlines())) <= 80
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.help or "").split("\n\n")[0].strip().endswith(".")
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert (option.help or "").rstrip(" 0123456789:.") not in ("", "None"), option.name


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_each_command_ends_with_an_example_that_it_takes(name: str) -> None:
    *_, heading, example = shown(name, "--help").rstrip().splitlines()
    assert (heading.strip(), example.strip()) == ("Example:", EXAMPLES[name])
    program, command, *words = shlex.split(example)
    assert (program, command) == ("annotate", name)
    parsed = main.get_command(click.Context(main), name)
    assert parsed is not None
    with parsed.make_context(name, words):  # refuses options and values that the command does not have
        pass


def test_an_unknown_command_is_refused_with_one_that_exists() -> None:
    result = CliRunner().invoke(main, ["inspct"])
    assert (result.exit_code, "No such command 'inspct'" in result.stderr) == (2, True)
    assert "inspect" in result.stderr


def test_an_error_that_is_not_ours_keeps_its_traceback() -> None:
    @click.group(cls=CommandGroup)
    def door() -> None:
        pass

    door.get_command = lambda ctx, name: click.Command(name, callback=lambda: {}["missing"])  # type: ignore[method-assign]
    assert isinstance(CliRunner().invoke(door, ["run"]).exception, KeyError)


COMPLETING = """
import os, sys
from cli import main
try:
    main(prog_name="annotate")
finally:
    heavy = {"annotate.inspect", "annotate.jobs", "numpy", "ray", "storage", "timm", "torch", "zarr"} & {*sys.modules}
    print(*heavy, file=sys.stderr)
"""


def completed(shell: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What a fresh interpreter lets a shell offer for the last of these words."""
    line = " ".join(("annotate", *words))
    at = {"COMP_CWORD": words[-1] if shell == "fish" else str(len(words)), "COMP_WORDS": line}
    environment = {**os.environ, "_ANNOTATE_COMPLETE": f"{shell}_complete", **at}
    return subprocess.run(
        [sys.executable, "-c", COMPLETING], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_names_of_commands_without_importing_networks(shell: str) -> None:
    found = completed(shell, "")
    for name, text in ((name, text) for part in SECTIONS.values() for name, text in part.items()):
        assert name in found.stdout
        assert shell == "bash" or text in found.stdout
    assert found.stderr.strip() == ""
    assert completed("bash", "ca").stdout.split() == ["plain,calibrate", "plain,card"]


def test_shells_complete_options_their_values_and_paths() -> None:
    assert "plain,--input-size" in completed("bash", "run", "--in").stdout.split()
    assert completed("bash", "export", "x.zarr", "masks", "--to", "c").stdout.split() == ["plain,coco"]
    assert completed("bash", "status", "lab").stdout.split() == ["file,lab"]


@pytest.mark.skipif(not os.access("/bin/bash", os.X_OK), reason="there is no bash here")
def test_bash_takes_what_the_documentation_says(tmp_path: Path) -> None:
    program = tmp_path / "annotate"
    program.write_text(f"#!{sys.executable}\nfrom cli import main\nmain(prog_name='annotate')\n")
    program.chmod(0o755)
    line = 'eval "$(_ANNOTATE_COMPLETE=bash_source annotate)"'
    assert line in (ROOT / "docs/cli.md").read_text()
    ask = (
        f"{line}; "
        "COMP_WORDS=(annotate inspect --sor); COMP_CWORD=2; "
        '_annotate_completion annotate; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(["/bin/bash", "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("--sort\n", "")


def _annotate(*words: object, **streams: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, text=True, timeout=120, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_one_message(finished: Path, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        result = _annotate("verify", finished, stdout=full, stderr=subprocess.PIPE, env=environment)
        assert result.returncode == 1
        assert result.stderr == "error: the answer cannot be written: No space left on device\n"
        missing = _annotate("verify", finished / "nothing", stdout=subprocess.PIPE, stderr=full)
        assert (missing.returncode, missing.stdout) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_remark_that_cannot_be_written_ends_no_command(finished: Path, tmp_path: Path) -> None:
    unfinished = Path(shutil.copytree(finished, tmp_path / "labels.zarr"))
    (unfinished / "shards/record/c/1").unlink()
    with open("/dev/full", "w") as full:
        result = _annotate("inspect", unfinished, stdout=subprocess.PIPE, stderr=full)
    assert result.returncode == 0
    assert "22" in result.stdout


def test_a_command_works_without_standard_output_and_error(
    scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """As some daemons start their programs."""
    words = ["run", scene_folder / "images/val", tmp_path / "labels.zarr", "--local", "--model", "test_resnet"]
    words += ["--model-kwarg", "output_stride=8", "--model-kwarg", "num_classes=10", "--input-size", "64"]
    command = shlex.join([sys.executable, "-m", "cli", *map(str, [*words, "--checkpoint", checkpoint])])
    result = subprocess.run(["sh", "-c", f"{command} >&- 2>&-"], cwd=ROOT, timeout=120)
    assert result.returncode == 0
    assert open_store(tmp_path / "labels.zarr").pending() == []


DYING = """
import mmap, sys
import cli, storage

def open_store(address):
    with open(address, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
        file.truncate(0)
    return mapped[0]  # as where the disk fails to read it

storage.open_store = open_store
cli.main(["inspect", sys.argv[1]])
"""


def test_a_command_that_a_fault_of_the_disk_kills_says_where(tmp_path: Path) -> None:
    (tmp_path / "labels.zarr").write_bytes(bytes(5000))
    command = [sys.executable, "-c", DYING, str(tmp_path / "labels.zarr")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == -signal.SIGBUS
    assert result.stderr.startswith("Fatal Python error: Bus error")
    assert "in open_store" in result.stderr
