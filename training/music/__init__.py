"""Captioned music by program: a seed becomes notes and a caption, notes become sound."""
