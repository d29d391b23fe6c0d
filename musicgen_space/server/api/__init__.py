"""The endpoints, and what Segmind and others say of the same ones."""
