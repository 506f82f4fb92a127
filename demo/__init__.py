"""Does the whole pipeline work on real pictures? A small data set whose truth is known, and experiments on it."""
