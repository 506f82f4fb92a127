"""Can tokenlabel be taken along? Wheel, sdist and container recipes."""
