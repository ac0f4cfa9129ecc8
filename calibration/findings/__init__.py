"""Several questions about one image, each answered yes or no, and each with labels of its own.

Labels are (N, K) numbers: 1 present, 0 absent, NaN unknown. What is unknown counts nowhere; it is
never a negative.
"""
