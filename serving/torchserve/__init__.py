"""A TorchServe for the models of a store: started, asked, updated and stopped. Its handler is in
model_store.
"""
