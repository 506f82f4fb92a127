"""The small real data set and the whole straight line on it: `make demo`."""
