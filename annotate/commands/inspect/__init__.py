"""What is in a store? One file for each command."""
