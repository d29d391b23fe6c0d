"""The backend "ZeroGPU": Hugging Face's GPUs, lent by the take. Start at ``backend``."""
