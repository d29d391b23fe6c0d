"""The backend "Segmind": its hosted ``meta-musicgen-medium`` API. Start at ``backend``."""

from musicgen_space.backends.segmind.backend import MODEL, TYPICAL_PRICE, SegmindBackend

__all__ = ["MODEL", "TYPICAL_PRICE", "SegmindBackend"]
