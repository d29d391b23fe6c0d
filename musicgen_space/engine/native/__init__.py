"""The decoder's step as a small C++ kernel, compiled on this machine where it has a compiler.

``decoder`` has the class to use, ``build`` the library behind it.
"""
