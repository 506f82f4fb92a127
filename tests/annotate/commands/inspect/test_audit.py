"""Are the pictures listed whose class is probably wrong?"""

from __future__ import annotations

import json
from pathlib import Path


def test_stores_are_audited(command, store: Path) -> None:
    audit = json.loads(command("audit", store, "--part", 0.2, "--json").stdout)
    assert (audit["pictures"], len(audit["suspects"])) == (30, 6)
    assert "of 30 pictures, the 1 whose label" in command("audit", store).stdout
