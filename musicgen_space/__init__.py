"""MusicGen Space: a line of text becomes music, in a web page, in one click."""

__version__ = "0.1.0"
