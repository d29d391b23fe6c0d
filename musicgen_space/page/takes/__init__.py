"""The list of a visitor's kept takes."""
