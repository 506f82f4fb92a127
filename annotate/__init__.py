"""How do pictures become label maps? Sources, networks, workers, and a look at what they made."""
