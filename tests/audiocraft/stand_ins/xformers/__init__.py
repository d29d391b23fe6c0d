"""Stands in for xFormers: AudioCraft imports it, but computes with torch's own attention."""
