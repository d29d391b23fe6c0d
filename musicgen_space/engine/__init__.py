"""MusicGen inference: text → codes → audio, on this machine.

Read in this order: ``config`` (shapes), ``conditioners`` (T5, chroma), ``delay`` (the delay
pattern), ``model`` and ``kv_cache`` (the decoder), ``conditioning`` (the CFG branches of a
batch), ``sampling``, ``windows`` (takes longer than 30 s), ``codec`` (EnCodec, streamed),
``generate`` (the loop that ties them together).

Then ``checkpoint`` (files and downloads to models), ``placement`` and ``memory`` (which
device, and whether it fits), and ``runtimes`` (what computes a decoder step). The engine
knows nothing of backends or pages.
"""
