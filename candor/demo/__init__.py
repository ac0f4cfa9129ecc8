"""The whole story on real images, told by driving every other room the way a user would. Nothing imports this room."""
