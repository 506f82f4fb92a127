"""How small and how fast is a store, beside the alternatives? `make bench` prints it; nothing else needs this."""
