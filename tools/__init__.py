"""What the Makefile runs besides the program; needs nothing but Python."""
