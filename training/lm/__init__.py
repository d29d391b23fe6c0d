"""The language model: T5 reads a caption, the decoder predicts codes."""
