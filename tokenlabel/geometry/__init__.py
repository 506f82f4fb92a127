"""Where does each part of a training picture come from? Numpy alone, without torch."""
