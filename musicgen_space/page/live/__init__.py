"""Live music: what goes on until it is stopped, and changes while it plays."""
