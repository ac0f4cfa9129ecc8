"""MLServer: a custom model behind its adaptive batching."""

import json

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceResponse
from model import Model, decode


class Classifier(MLModel):
    """Takes a tensor of encoded images."""

    async def load(self):
        """In the worker."""
        self.model = Model()
        return True

    async def predict(self, payload):
        """A batch."""
        images = [decode(image) for image in Base64Codec.decode_input(payload.inputs[0])]
        answers = [json.dumps(answer) for answer in self.model(images)]
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("answer", answers)]
        )
