"""How does a collection become a store? Shard by shard; the same run again resumes."""
