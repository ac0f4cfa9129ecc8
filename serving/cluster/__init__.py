"""Candor on a Ray cluster: the server as replicas (`candor serve --engine ray`).

Ray starts, counts, places and replaces the replicas. Each of them runs the application of `candor serve` (`replica`),
with the settings of the command (`placed_settings`), behind Ray's proxies (`front`). `engine` is that command. Ray is
imported when it connects to the cluster.
"""
