"""The torch runtime: ``Decoder`` itself, and on CUDA the same in slots, with CUDA graphs."""
