"""A receiver of callbacks that believes signed ones alone.

    export FACET_WEBHOOK_SECRETS=whsec_…      # the same for Facet and here
    uvicorn examples.receiver:app --port 9000

Submit with `callback_url=http://127.0.0.1:9000/faces`. Facet delivers at least once,
so each is looked at once by its id.
"""

import logging
import os

from fastapi import FastAPI, Request, Response

from facet.client import WebhookVerificationError, verify_callback

SECRETS = os.environ["FACET_WEBHOOK_SECRETS"].split(",")

app = FastAPI()
log = logging.getLogger("uvicorn.error")
seen: set[str] = set()  # in earnest: a unique column of your database


@app.post("/faces")
async def faces(request: Request) -> Response:
    try:
        callback = verify_callback(await request.body(), request.headers, *SECRETS)
    except WebhookVerificationError:
        return Response(status_code=401)
    event = request.headers["webhook-id"]
    if event not in seen:
        seen.add(event)
        log.info("%s: %s, %d face(s)", callback["request_id"], callback["status"], len(callback["faces"]))
    return Response(status_code=204)
