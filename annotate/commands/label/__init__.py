"""How are labels made, watched and verified? One file for each command."""
