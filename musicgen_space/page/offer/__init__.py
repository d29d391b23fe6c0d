"""A better model, offered to the owner of this machine. Start at ``offer``."""
