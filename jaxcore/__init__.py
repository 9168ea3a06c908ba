"""Pure functions under Separax: arrays in, arrays out, one axis at a time."""
