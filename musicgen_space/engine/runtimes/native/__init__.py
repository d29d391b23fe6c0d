"""The decoder's step as a small C++ kernel, which comes compiled for the usual machines.

``decoder`` has the class to use, ``kernel`` the library behind it: ``shipped`` with this
package or built on this machine by ``build``, and ``check``ed as it is loaded. ``ship``
compiles what is shipped.
"""
