"""How fast `candor predict --out` scores small images, in how much memory, in spite of kills."""
