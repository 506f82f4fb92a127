"""Which keys are valid for pictures inside a file, and which keys do pictures without a name get?"""

from __future__ import annotations

from storage.keys.key import is_key, is_short


def is_sound(key: str) -> bool:
    """Whether the key is valid (see `storage.keys.key`), can be encoded as UTF-8, and is no longer than a store's."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return is_key(key) and is_short(key)


def row_keys(count: int) -> list[str]:
    """Keys for rows without a name: their numbers from 0, with nine digits, so that keys sort in the order of rows."""
    return [f"{row:09d}" for row in range(count)]
