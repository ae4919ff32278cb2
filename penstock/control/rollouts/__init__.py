"""How one release takes the place of another: presets, what is decided, the loop that does it."""
