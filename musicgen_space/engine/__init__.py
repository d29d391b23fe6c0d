"""MusicGen inference: text → codes → sound, on this machine.

Read in this order: ``config`` (shapes), ``text`` (T5), ``melody`` (a tune), ``delay`` (how
codebooks are staggered), ``model`` (the decoder), ``conditions`` (what each row of a batch is
told), ``sampling``, ``windows`` (takes longer than 30 s), ``codec`` and ``streaming``
(EnCodec), ``generate`` (the loop that ties them together).

Then how a model gets here: ``loader`` and ``checkpoint`` (folders), ``hub`` (downloads),
``placement`` and ``memory`` (where, and whether it fits), and what makes it fast:
``quantise``, ``native``, ``half``. Nothing in here knows of backends or pages.
"""
