"""Ray Serve: one replica with a batched method."""

import signal

import ray
from model import MAX_BATCH, PORT, WAIT_S, Model, decode
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
class Classifier:
    """Takes the image itself as the body."""

    def __init__(self):
        self.model = Model()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_S)
    async def infer(self, bodies):
        """A batch."""
        return self.model([decode(body) for body in bodies])

    async def __call__(self, request: Request):
        """One image."""
        return await self.infer(await request.body())


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Classifier.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
