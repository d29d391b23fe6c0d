"""Loops: tempo and beats, key, the stretch whose ends fit best, and what files say of it."""
