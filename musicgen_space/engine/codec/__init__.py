"""EnCodec: sound becomes codes, and codes sound."""
