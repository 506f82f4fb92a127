"""Is a published store copied whole, or not at all, and only once?"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import (
    DamageError,
    LabelStore,
    NotAStoreError,
    Progress,
    Publication,
    StoreError,
    UnreadableError,
    finalize,
    open_store,
    pull,
    verify,
)
from tests.servers.web import MISSING, WRONG, serving


def name_of(full: LabelStore) -> str:
    return Path(full.address).name


def published(full: LabelStore) -> Path:
    """The folder above a finalized store."""
    finalize(full, Publication(name="Labels", source="pictures", licence="CC0-1.0"))
    return Path(full.address).parent


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_of_any_backend_is_copied_to_the_bit(full: LabelStore, tmp_path: Path) -> None:
    told: list[Progress] = []
    with serving(published(full)) as web:
        address, target = f"{web.address}/{name_of(full)}", tmp_path / "pulled" / name_of(full)
        pulled = pull(address, target, on_progress=told.append)
        assert files(target) == files(Path(full.address))
        assert pulled.objects == pulled.pulled_now == told[-1].done == told[-1].total == len(files(target))
        assert verify(open_store(target), deep=True).state == "ok"
        assert pull(address, target).pulled_now == 0
        assert not (tmp_path / "pulled" / f"{name_of(full)}.pulling").exists()


@pytest.mark.parametrize("fault", [WRONG, MISSING, 403])
def test_a_copy_that_failed_is_continued_and_is_not_at_its_address_before(
    full: LabelStore, tmp_path: Path, fault: int | str
) -> None:
    with serving(published(full)) as web:
        bad = f"{name_of(full)}/README.md"
        web.faults[bad] = [fault] * 3
        address, target = f"{web.address}/{name_of(full)}", tmp_path / "pulled" / name_of(full)
        with pytest.raises((DamageError, UnreadableError, StoreError), match=r"README\.md"):
            pull(address, target)
        assert not target.exists()
        web.faults.clear()
        before = dict(web.asked)
        assert 0 < pull(address, target).pulled_now < len(files(target))
        assert files(target) == files(Path(full.address))
        again = {name for name, count in web.asked.items() if name in before and count > before[name]}
        assert again == {bad, f"{name_of(full)}/MANIFEST.sha256"}


def test_a_folder_of_something_else_and_an_unfinalized_store_are_refused(full: LabelStore, tmp_path: Path) -> None:
    with serving(Path(full.address).parent) as web:
        address, target = f"{web.address}/{name_of(full)}", tmp_path / "pulled"
        with pytest.raises(NotAStoreError, match="not finalized"):
            pull(address, target)
        published(full)
        target.mkdir()
        (target / "mine.txt").write_text("mine")
        with pytest.raises(NotAStoreError, match="is not empty"):
            pull(address, target)
        assert (target / "mine.txt").read_text() == "mine"
    with pytest.raises(StoreError, match="`annotate convert` copies other stores"):
        pull(str(full.address), target)
