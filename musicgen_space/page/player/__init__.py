"""What a visitor hears and sees of a take, while it is made and after."""
