"""Who visits the page, and how much of this machine each may have."""
