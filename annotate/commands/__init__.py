"""What can be done from a command line? Each file in label, inspect and share is one; only here is click imported."""
