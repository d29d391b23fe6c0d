"""Audio: files, samples, loudness, waveforms. Knows nothing of how music is generated."""
