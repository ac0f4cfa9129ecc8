"""The answers to all images of a folder, without a server and a ledger.

A part of the images is a Parquet file, which appears as a whole or not at all. What has no row yet
is scored (`job`), in this process or on a Ray cluster (`serving.cluster.scoring`).
"""
