"""How good a checkpoint is, in figures: ``python -m training.measure``."""
