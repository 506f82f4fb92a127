"""What can be done from a command line? The names of the commands; each is imported when it is called."""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
from contextlib import suppress
from traceback import walk_tb
from typing import Any

import click

# Each section of the help is a folder in annotate/commands, and each of its commands a file there. The one-line helps
# are here, so that `annotate --help` imports none of these files. 63 characters fit on a line of 80.
SECTIONS = {
    "label": {
        "show": "Label a few pictures and show the labels; nothing is stored.",
        "locality": "Measure whether labels depend on their own location.",
        "plan": "Estimate the time, workers and bytes that a run will take.",
        "calibrate": "Fit the temperature, so that confidence matches accuracy.",
        "run": "Label every picture of a collection; run it again to resume.",
        "status": "Show the progress of a store, also while others write to it.",
        "verify": "Check a store for damage, and repair it.",
    },
    "inspect": {
        "inspect": "Describe a store; show its labels as a sheet or a report.",
        "compare": "Compare the labels of two stores of the same pictures.",
        "query": "List the pictures that show a class, largest area first.",
        "fidelity": "Compare targets of crops with answers on the crops.",
        "audit": "List the pictures whose own class is probably wrong.",
    },
    "share": {
        "convert": "Copy labels to another backend, or from and to .pt files.",
        "merge": "Make one store of parts that were labelled apart.",
        "append": "Label the new pictures of a collection; keep the other labels.",
        "select": "Make a store of some pictures of a store.",
        "export": "Write masks for other tools: PNG, COCO, FiftyOne.",
        "names": "Give the classes of a store other names, or list them.",
        "finalize": "Prepare a finished store for publication.",
        "card": "Print a dataset card of a store, in Markdown.",
        "push": "Publish a finalized store on the Hub.",
        "pull": "Copy a published store to a folder.",
    },
}

# What each command's help ends with.
EXAMPLES = {
    "show": "annotate show photo.jpg --model dm_nfnet_f6.dm_in1k",
    "locality": "annotate locality photos --model dm_nfnet_f6.dm_in1k",
    "plan": "annotate plan photos --model dm_nfnet_f6.dm_in1k",
    "calibrate": "annotate calibrate val --model dm_nfnet_f6.dm_in1k -o t.toml",
    "run": "annotate run photos labels.zarr --model dm_nfnet_f6.dm_in1k",
    "status": "annotate status labels.zarr --watch",
    "verify": "annotate verify labels.zarr --repair --dry-run",
    "inspect": "annotate inspect labels.zarr --images photos -o sheet.png",
    "compare": "annotate compare one.zarr other.zarr --images photos -o sheet.png",
    "query": "annotate query labels.zarr --class tabby --min-area 0.1",
    "fidelity": "annotate fidelity photos labels.zarr -o curve.png",
    "audit": "annotate audit labels.zarr --part 0.01",
    "convert": "annotate convert labels.zarr labels.h5/",
    "merge": "annotate merge one.zarr other.zarr all.zarr",
    "append": "annotate append labels.zarr photos more.zarr --model dm_nfnet_f6.dm_in1k",
    "select": "annotate select labels.zarr some.zarr --keys keys.txt",
    "push": "annotate push labels.zarr hf://datasets/OWNER/NAME",
    "pull": "annotate pull hf://datasets/OWNER/NAME labels.zarr",
    "names": "annotate names labels.zarr imagenet-1k",
    "export": "annotate export labels.zarr masks --to png",
    "finalize": "annotate finalize labels.zarr --source NAME --licence CC-BY-4.0",
    "card": "annotate card labels.zarr --source NAME --licence CC-BY-4.0 -o card.md",
}

ERROR, INTERRUPTED = 1, 130  # 2 is click's own; 0, 3 and 4 are in annotate/commands/answers.py


class CommandGroup(click.Group):
    """The commands by section, in the order of work. Errors that a person can correct become one message."""

    def __init__(self, **settings: Any) -> None:
        helps = {name: text for section in SECTIONS.values() for name, text in section.items()}
        super().__init__(commands={name: click.Command(name, short_help=helps[name]) for name in helps}, **settings)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of work."""
        return [*self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        for section, commands in SECTIONS.items():
            if cmd_name in commands:
                module = importlib.import_module(f"annotate.commands.{section}.{cmd_name}")
                command: click.Command = getattr(module, cmd_name)
                command.short_help = commands[cmd_name]  # shells show it beside the name
                if (example := EXAMPLES.get(cmd_name)) and example not in (command.epilog or ""):
                    # Two lines, which \b keeps apart.
                    command.epilog = "\n\n".join([*filter(None, [command.epilog]), f"\b\nExample:\n  {example}"])
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section; the texts of all sections begin in one column."""
        width = max(map(len, self.commands))
        for section, commands in SECTIONS.items():
            with formatter.section(section.capitalize()):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises:
            SystemExit: with ERROR, after the message of an error that was written for the person at the terminal.
        """
        _open_closed_streams()
        _show_faults()
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            _complain("interrupted; run the same command again to resume")
            # Exit without cleaning up: a Ray that is still starting may abort during a normal exit, and Python may kill
            # itself by the signal of an interrupted import. Ray's daemons notice the end of this process and exit.
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(INTERRUPTED)
        except click.ClickException:
            raise
        except Exception as error:  # errors that are not ours are raised again
            if isinstance(error, OSError) and _is_of_echo(error):
                _complain(f"error: the answer cannot be written: {error.strerror}")
                sys.exit(ERROR)
            if not _is_ours(error):
                raise
            from annotate.text import hide_home

            _complain(hide_home("\n".join([f"error: {error}", *getattr(error, "__notes__", ())])))
            sys.exit(ERROR)


def _open_closed_streams() -> None:
    """Give the command a standard output and error where it was started without, as by some daemons and `2>&-`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 open until the process ends


def _show_faults() -> None:
    """Have Python say at which line a signal kills it, as SIGBUS does when the disk fails to read what is mapped."""
    if not faulthandler.is_enabled():
        with suppress(OSError):  # standard error is not a file, as in another program that calls a command
            faulthandler.enable(all_threads=False)


def _complain(text: str) -> None:
    """Write to standard error, or to nobody: its disk may be full."""
    with suppress(OSError):
        click.echo(text, err=True)


def _is_of_echo(error: OSError) -> bool:
    """Whether an answer could not be written. It is then dropped, or Python would try again at exit, and fail."""
    *_, (innermost, _) = walk_tb(error.__traceback__)
    if innermost.f_code is not click.echo.__code__:
        return False
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return True


def _is_ours(error: Exception) -> bool:
    """Whether the message was written for the person at the terminal. Imported only after an error: help stays fast."""
    from annotate.errors import AnnotateError
    from storage import StoreError

    return isinstance(error, AnnotateError | StoreError)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="tokenlabel", prog_name="annotate")
def main() -> None:
    """Label pictures densely with pretrained networks; check, inspect and share the labels.

    \b
    Exit codes:
      0    done
      1    error; the message says what to do
      2    wrong usage
      3    done as far as possible: some pictures or shards have no label
      4    verify found damage
      5    verify could not read all of a store
      130  interrupted; run the same command again to resume
    """


if __name__ == "__main__":
    main()
