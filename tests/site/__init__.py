"""Can the documentation be read? The site that `make docs` writes."""
