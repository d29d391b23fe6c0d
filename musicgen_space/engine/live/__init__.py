"""Music that goes on until it is stopped, and can be steered. Start at ``session``.

``passage`` is music without end by one wish, ``transition`` how another one takes over,
``listening`` what can be told of a sound within a second.
"""
