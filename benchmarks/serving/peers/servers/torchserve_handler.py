"""TorchServe: a handler that runs the ONNX file."""

from model import Model, decode


class Handler:
    """TorchServe makes one in each worker."""

    def initialize(self, context):
        """Load the session."""
        self.model = Model()

    def handle(self, data, context):
        """A batch."""
        return self.model([decode(bytes(row.get("body") or row.get("data"))) for row in data])
