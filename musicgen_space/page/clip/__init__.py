"""A visitor's own sound, to go on from or to follow."""
