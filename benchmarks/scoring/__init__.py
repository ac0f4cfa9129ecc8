"""How fast `candor predict --out` scores a folder of small images, in how much memory, and that
kills cost no row.
"""
