"""The backend "Segmind": its hosted ``meta-musicgen-medium`` API. Start at ``backend``."""

from musicgen_space.backends.segmind.backend import MODEL, SegmindBackend

__all__ = ["MODEL", "SegmindBackend"]
