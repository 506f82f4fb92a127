"""What do several tests of storage need? A server for buckets, one for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import s3


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a real S3 server."""
    with s3.server() as address:
        yield address


@pytest.fixture(autouse=True)
def _nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged shard is not waited for: no test has a writer whose end would mend it, but those that say so."""
    for module in ("zarr_backend.commit", "operations.integrity"):
        monkeypatch.setattr(f"storage.{module}.LOOKS", ())
