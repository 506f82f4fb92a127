"""Which keys may pictures have that lie in one file, and which do they get that have no name?"""

from __future__ import annotations

from storage.keys import is_key


def is_sound(key: str) -> bool:
    """Whether the key is one of `storage.keys`, and can be written as UTF-8."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return is_key(key)


def row_keys(count: int) -> list[str]:
    """Keys for rows without a name: their numbers from 0, with nine digits, so that their order is that of the rows."""
    return [f"{row:09d}" for row in range(count)]
