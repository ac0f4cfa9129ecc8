"""One version of one model: its card, graph, manifest, archives and signature."""
