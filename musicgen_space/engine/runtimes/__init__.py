"""Runtimes: what computes a decoder step. ``registry`` chooses one: ``native`` or torch."""
