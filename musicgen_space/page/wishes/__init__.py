"""What a tab has asked for: made already, or to be made next."""
