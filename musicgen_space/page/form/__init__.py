"""What a visitor asks for: the fields of a request, and settings given back to them."""
