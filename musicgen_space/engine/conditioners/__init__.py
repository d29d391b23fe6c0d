"""What the decoder listens to: text through T5, a tune as chroma."""
