"""MusicGen inference: text → codes → sound, on this machine.

Read in this order: ``config`` (shapes), ``text`` (T5), ``delay`` (how codebooks are
staggered), ``model`` (the decoder), ``sampling``, ``codec`` (EnCodec, streamed),
``generate`` (the loop that ties them together), ``loader`` (checkpoints) and ``hub``
(downloads). Nothing in here knows of backends or pages.
"""
