"""mosec: one worker, batched."""

from model import MAX_BATCH, WAIT_S, Model, decode
from mosec import Server, Worker


class Classifier(Worker):
    """Takes the image itself as the body."""

    def __init__(self):
        self.model = Model()

    def deserialize(self, data):
        """An image."""
        return decode(data)

    def forward(self, data):
        """A batch of them."""
        return self.model(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Classifier, max_batch_size=MAX_BATCH, max_wait_time=int(1000 * WAIT_S), timeout=120
    )
    server.run()
