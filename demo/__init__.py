"""Does the whole pipeline work on real pictures? A small dataset whose truth is known, and experiments on it."""
