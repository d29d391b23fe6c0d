"""How the embedded checkpoint, musicgen-nano, is made."""
