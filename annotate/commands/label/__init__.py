"""How are labels made, and how far and how sound are they? One command a file."""
