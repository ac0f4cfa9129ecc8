"""Candor on a Ray cluster: replicas of the server (`--engine ray`), and scoring.

Ray starts, counts, places and replaces the replicas. Each of them runs the application of `candor
serve` (`replica`), with the settings of the command (`placed_settings`), behind Ray's proxies
(`front`). `engine` is that command, and `scoring` spreads the parts of `serving.scoring` over the
cluster. Ray is imported when one of them connects to it.
"""
