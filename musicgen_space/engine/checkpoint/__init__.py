"""Checkpoints on disk and on the hub, in every supported format; the entry is ``loader``."""
