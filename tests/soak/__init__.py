"""Harm done to a real server: kills, partitions, full disks, hostile bodies, storms; then all is
counted again.
"""
