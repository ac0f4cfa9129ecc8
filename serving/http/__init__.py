"""HTTP: predictions, access control, requests and answers."""
