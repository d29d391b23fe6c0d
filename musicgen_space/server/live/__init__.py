"""Live music over a WebSocket: what is said on it, who plays, one session."""
