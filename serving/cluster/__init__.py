"""Candor on a Ray cluster: replicas of the server (`candor serve --engine ray`), and scoring.

Ray starts, counts, places and replaces the replicas, and listens for them. Each of them runs the
application of `candor serve` (`replica`); `engine` deploys them, and `scoring` spreads the parts of
`serving.scoring` over the cluster. Ray is imported when one of them connects to it.
"""
