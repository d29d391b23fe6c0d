"""The decoder's step as a small C++ kernel, prebuilt for common platforms.

``runtime`` is what the registry knows, ``decoder`` the Python side of the kernel. ``kernel``
loads the library: ``prebuilt``, else compiled here by ``build``; ``self_test`` checks it as
it is loaded. The C++ is in ``src/``; ``build_prebuilt`` compiles it into ``kernels/``.
"""
