"""How does a worker label one shard? Decode, run the networks, code, write, commit; shards overlap."""
