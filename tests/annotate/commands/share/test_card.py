"""Is a card written where it is asked for?"""

from __future__ import annotations

from pathlib import Path

ABOUT = ("--source", "scans of digits", "--licence", "CC-BY-4.0")


def test_a_card_is_printed_or_written_to_a_file(command, store: Path, tmp_path: Path) -> None:
    printed = command("card", store, *ABOUT)
    assert printed.exit_code == 0, printed.output
    assert command("card", store, *ABOUT, "-o", tmp_path / "card.md").stdout == f"wrote {tmp_path / 'card.md'}\n"
    assert (tmp_path / "card.md").read_text() == printed.stdout
    refused = command("card", store, *ABOUT, "-o", tmp_path / "no" / "card.md")
    assert (refused.exit_code, "cannot write" in refused.stderr) == (1, True)
