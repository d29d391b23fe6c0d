"""The HTTP API: Segmind's, and one that streams, over the models of this machine.

``app`` puts it together. A call becomes an ``Order`` (``orders``), an order a row of ``jobs``,
which ``runner`` makes with a backend; ``database`` is where accounts, jobs and files are. Knows
nothing of pages.
"""
