"""Takes that everybody finds on the page, ready to play."""
