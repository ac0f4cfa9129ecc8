"""FastAPI, one image at a time."""

import uvicorn
from fastapi import FastAPI, Request
from model import PORT, Model, decode

app = FastAPI()
model = Model()


@app.post("/predict")
async def predict(request: Request):
    """One image, inferred in the event loop."""
    return model([decode(await request.body())])[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
