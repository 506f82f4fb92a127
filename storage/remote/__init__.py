"""How is a published store read from a server? Its objects are fetched when they are first read, and kept."""
