"""What the decoder is conditioned on: text through T5, a melody as chroma."""
