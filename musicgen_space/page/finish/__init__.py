"""What is done to takes when they are heard and downloaded."""
