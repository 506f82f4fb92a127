"""What can be done from a command line? Each file in label, look and share is a command; only this room knows click."""
