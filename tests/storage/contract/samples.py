"""What do the stores of these tests hold?"""

from __future__ import annotations

from storage import Schema

SCHEMA = Schema(
    grid=(6, 5), k=3, class_count=40, rows_per_shard=4, recipe={"model": "resnet50", "input_size": [96, 80]}
)
KEYS = [f"class {n % 3}/é {n}.v1.jpg" for n in range(10)]
SHARDS = [range(4), range(4, 8), range(8, 10)]
