"""What is done with a whole store? It is checked, copied and published."""
