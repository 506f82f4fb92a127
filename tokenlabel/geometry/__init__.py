"""Where does each part of a training picture come from? `view` and `warp` need no torch; `pixel_warp` does."""
