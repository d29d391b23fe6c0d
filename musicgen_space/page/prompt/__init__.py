"""Describing the music: words to build a prompt of, and what a model can read of it."""
