"""How a take is made ready to be heard: louder, limited, trimmed, faded."""
