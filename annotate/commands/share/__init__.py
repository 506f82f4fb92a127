"""How do labels reach other formats, other tools and other people? One file for each command."""
