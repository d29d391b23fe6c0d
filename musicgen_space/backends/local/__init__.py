"""The backend "This machine": MusicGen checkpoints on our own engine. Start at ``backend``."""
