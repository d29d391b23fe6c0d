"""A miniature of AudioCraft's interface, for the tests of the process that it runs in."""
