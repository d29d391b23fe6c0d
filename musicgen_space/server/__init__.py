"""The HTTP API: Segmind's, and one that streams, over the models of this machine.

``app`` puts it together. A call to ``api`` becomes an ``Order``, an order a row of the job store,
which the runner makes with a backend (``jobs``), paid by a key (``accounts``). Knows nothing of
pages.
"""
