"""Sound: files, samples, loudness and pictures of it. Knows nothing of how music is made."""
