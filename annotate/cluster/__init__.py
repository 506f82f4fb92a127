"""Who works when one process is not enough? The actors of a Ray cluster. Only this folder imports ray."""
