"""The page as a Space of the Hugging Face hub, made by one command. Start at ``command``."""
