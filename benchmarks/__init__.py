"""Measurements, always side by side with a peer and in turns: machines are noisy."""
