"""What computes a decoder's step: torch, or the native kernel."""
