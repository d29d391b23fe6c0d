"""The page inside others: as a component, and as a small view for frames."""
