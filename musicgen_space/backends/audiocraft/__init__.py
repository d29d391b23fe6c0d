"""AudioCraft itself as a backend, in a process and an environment of its own."""

from musicgen_space.backends.audiocraft.backend import AudioCraftBackend

__all__ = ["AudioCraftBackend"]
