"""LitServe: one worker, batched."""

import litserve
from fastapi import UploadFile
from model import MAX_BATCH, PORT, WAIT_S, Model, decode


class Classifier(litserve.LitAPI):
    """Takes the image as a file of a form."""

    def setup(self, device):
        """In the worker."""
        self.model = Model()

    def decode_request(self, request: UploadFile):
        """An image."""
        return decode(request.file.read())

    def batch(self, inputs):
        """As they are."""
        return inputs

    def predict(self, inputs):
        """A batch."""
        return self.model(inputs)

    def unbatch(self, output):
        """One by one."""
        return output

    def encode_response(self, output):
        """As it is."""
        return output


if __name__ == "__main__":
    api = Classifier(max_batch_size=MAX_BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", timeout=120)
    server.run(
        host="127.0.0.1",
        port=PORT,
        generate_client_file=False,
        log_level="warning",
        num_api_servers=1,
    )
