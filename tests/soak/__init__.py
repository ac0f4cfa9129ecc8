"""Harm to a real server: kills, partitions, full disks, hostile bodies, storms."""
