"""Who may use the API: keys, what they may do and spend, and the command that makes them."""
