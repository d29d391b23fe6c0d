"""Many requests made at once, each as if alone. Start at ``scheduler``.

``generation`` is one request while it is made, ``sound`` its codes as they become samples,
``turns`` who is advanced by a step, ``events`` what comes of it.
"""
