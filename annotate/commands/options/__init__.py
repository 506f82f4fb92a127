"""What do several commands take? Each file holds options that belong together."""
