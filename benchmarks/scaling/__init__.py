"""What a thousand answers and labels cost here, and what follows for a billion a day."""
