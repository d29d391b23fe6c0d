"""The formats that people have checkpoints in."""
