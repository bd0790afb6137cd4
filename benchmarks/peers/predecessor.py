"""The design that Facet replaces, in one file: a thin web layer, Celery, PostgreSQL, S3, and MTCNN on TensorFlow.

`PEER_WARM` empty is the design as it was: the model is built anew for every task, a task is acknowledged before it
begins, a callback is tried once. Set, it is the kinder one: one model and one thread a child, and a child takes one
task at a time, which is acknowledged when it is done.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import Annotated, Any
from uuid import uuid4

import cv2
import httpx
import numpy as np
import psycopg2
from celery import Celery
from fastapi import FastAPI, Form, UploadFile
from minio import Minio
from psycopg2.extras import Json

WARM = bool(os.environ.get("PEER_WARM"))
BUCKET = "peer"
MIN_CONFIDENCE = 0.94
_RETURNED_AFTER = 30
"""Seconds until Redis hands the task of a dead worker to another; RabbitMQ would at once."""

app = FastAPI()
celery = Celery("peer", broker=os.environ["PEER_BROKER"])
celery.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": _RETURNED_AFTER},
    task_ignore_result=True,
    task_acks_late=WARM,
    worker_prefetch_multiplier=1 if WARM else 4,
)


@app.post("/api/image/", status_code=202)
def submit(
    image: UploadFile, request_id: Annotated[str, Form()], callback_url: Annotated[str, Form()]
) -> dict[str, str]:
    """Store the photo and its row, and leave the rest to a task."""
    image_id = str(uuid4())
    store().put_object(BUCKET, f"{image_id}.jpg", image.file, image.size or 0)
    with transaction() as cursor:
        cursor.execute("INSERT INTO image VALUES (%s, %s, %s)", (image_id, request_id, callback_url))
    find_faces.delay(image_id)
    return {"status": "ok"}


@celery.task  # type: ignore[untyped-decorator]
def find_faces(image_id: str) -> None:
    """Fetch, detect, store, draw, upload, call back."""
    with transaction() as cursor:
        cursor.execute("SELECT request_id, callback_url FROM image WHERE id = %s", (image_id,))
        request_id, callback_url = cursor.fetchone()
    answer = store().get_object(BUCKET, f"{image_id}.jpg")
    pixels = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
    answer.close()
    answer.release_conn()
    model = warm_model() if WARM else new_model()
    faces = [face for face in model.detect_faces(pixels[:, :, ::-1]) if face["confidence"] > MIN_CONFIDENCE]
    found = [
        {
            "confidence": float(face["confidence"]),
            "box": [int(side) for side in face["box"]],
            "keypoints": {name: [int(at) for at in point] for name, point in face["keypoints"].items()},
        }
        for face in faces
    ]
    with transaction() as cursor:
        for face in found:
            cursor.execute("INSERT INTO face VALUES (%s, %s)", (image_id, Json(face)))
    for face in found:
        x, y, width, height = face["box"]
        cv2.rectangle(pixels, (x, y), (x + width, y + height), (0, 255, 0), 2)
        label = f"P: {face['confidence']:.4f}"
        cv2.putText(pixels, label, (x, y + height + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    store().put_object(BUCKET, f"{image_id}-annotated.jpg", BytesIO(jpeg), len(jpeg))
    body = {
        "image_id": image_id,
        "request_id": request_id,
        "faces": found,
        "output_image_url": f"{image_id}-annotated.jpg",
    }
    httpx.post(callback_url, json=body)


def new_model() -> Any:
    from mtcnn import MTCNN  # in the child: TensorFlow does not outlive a fork

    return MTCNN()


@cache
def warm_model() -> Any:
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return new_model()


@cache
def store() -> Minio:
    access, secret = os.environ["PEER_S3_KEYS"].split(":")
    client = Minio(os.environ["PEER_S3"], access, secret, secure=False)
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)
    return client


@contextmanager
def transaction() -> Iterator[Any]:
    """A connection for each request and task, as Django opens them by default."""
    connection = psycopg2.connect(os.environ["PEER_DATABASE"])
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def create_tables() -> None:
    with transaction() as cursor:
        cursor.execute("CREATE TABLE image (id text PRIMARY KEY, request_id text, callback_url text)")
        cursor.execute("CREATE TABLE face (image_id text, face jsonb)")
    store()


if __name__ == "__main__":
    create_tables()
