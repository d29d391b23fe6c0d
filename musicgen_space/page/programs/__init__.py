"""What other programs call: the endpoints, their parameters, a plain form for ``gr.load``."""
