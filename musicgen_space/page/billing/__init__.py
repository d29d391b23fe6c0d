"""Who pays for a hosted take, and whether they may."""
