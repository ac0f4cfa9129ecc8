"""The pages for people: trying images, signing in, and the files that pages load."""
