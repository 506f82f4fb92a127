"""Who works when one process is not enough? The actors of a Ray cluster. Only this room imports ray."""
