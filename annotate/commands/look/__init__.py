"""What is in a store? One command a file."""
