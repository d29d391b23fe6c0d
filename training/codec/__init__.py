"""EnCodec: sound in 4 × 50 whole numbers a second, and back."""
