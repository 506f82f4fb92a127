"""How do labels reach other formats, other tools and other people? One command a file."""
