"""The keys that the page knows."""
