"""How are labels encoded as numbers, and decoded? The same for all backends."""
