"""HTTP: the hot route for images (`app`), the other routes (`routes`), access control, requests and
answers.
"""
