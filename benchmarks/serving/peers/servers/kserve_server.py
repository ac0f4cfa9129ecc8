"""KServe's Python server: a custom model; batching is left to KServe's agent in Kubernetes."""

import base64

import kserve
from model import Model, decode


class Classifier(kserve.Model):
    """Takes instances with base64."""

    def __init__(self):
        super().__init__("model")
        self.model = Model()
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        """The instances of one request."""
        images = [
            decode(base64.b64decode(instance["image"]["b64"])) for instance in payload["instances"]
        ]
        return {"predictions": self.model(images)}


if __name__ == "__main__":
    kserve.ModelServer(workers=1, enable_docs_url=False).start([Classifier()])
