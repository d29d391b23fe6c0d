"""Checkpoint folders, in the formats that people have them in. ``engine.loader`` is the door."""
