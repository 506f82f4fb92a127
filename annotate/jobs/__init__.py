"""How does a collection become a store? Shard by shard; running again resumes."""
