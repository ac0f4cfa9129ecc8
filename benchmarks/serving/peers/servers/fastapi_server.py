"""FastAPI with the usual hand-written batcher; images are decoded in threads."""

import asyncio
import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request
from model import MAX_BATCH, WAIT_S, Model, decode

model = Model()
queue = asyncio.Queue()


async def batches():
    """Wait for one image, then for more until the batch is full or the time is up."""
    loop = asyncio.get_running_loop()
    while True:
        batch = [await queue.get()]
        until_s = loop.time() + WAIT_S / 5
        while len(batch) < MAX_BATCH and (left_s := until_s - loop.time()) > 0:
            try:
                batch.append(await asyncio.wait_for(queue.get(), left_s))
            except TimeoutError:
                break
        images = [image for image, _ in batch]
        for (_, future), answer in zip(
            batch, await loop.run_in_executor(None, model, images), strict=True
        ):
            if not future.done():
                future.set_result(answer)


@asynccontextmanager
async def lifespan(_):
    """The batcher lives as long as the server."""
    task = asyncio.create_task(batches())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(request: Request):
    """One image, decoded beside others and inferred with them."""
    image = await asyncio.to_thread(decode, await request.body())
    future = asyncio.get_running_loop().create_future()
    await queue.put((image, future))
    return await future


if __name__ == "__main__":
    port = int(sys.argv[-1])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
