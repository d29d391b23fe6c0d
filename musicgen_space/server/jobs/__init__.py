"""Jobs: what is asked for, where that is kept until it is made, and who makes it."""
