"""The answers to all images of a folder, without a server and a ledger: in parts, resumable, each
image exactly once.

The list of images is fixed at the start and cut into parts (`plan`). A part is scored as a whole
and appears as one file, or not at all. Whatever was interrupted is continued with the parts that
are missing (`job`), in this process or on a Ray cluster (`serving.cluster.scoring`).
"""
