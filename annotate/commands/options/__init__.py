"""Which options do several commands share? Each file holds options that belong together."""
