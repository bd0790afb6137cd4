"""`facet demo`: one photo through the whole service, from the request to the callback."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from cli.output import fail
from cli.readiness import PARTS, StackFailed, await_parts, is_ready
from facet.settings import Settings, get_settings

_ROOT = Path(__file__).parent.parent


class DemoFailed(Exception):
    """What went wrong, in words for whoever tries the demo."""


def demo(
    image: Annotated[Path, typer.Option(help="The photo.")] = _ROOT / "examples" / "eileen-collins.jpg",
    out: Annotated[Path, typer.Option(help="Folder for callback.json and annotated.jpg.")] = Path("demo"),
) -> None:
    """Submit a photo, wait for its callback, and keep the result; starts the stack if none is running."""
    console, settings = Console(stderr=True), get_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not image.is_file():
            raise DemoFailed(f"There is no file {image}: name a photo with IMAGE=path.")
        with _receiver() as (callback_url, callbacks), _running_stack(settings, console):
            result, picture = _submit_and_wait(settings, image, callback_url, callbacks, console)
        out.mkdir(parents=True, exist_ok=True)
        (out / "callback.json").write_text(json.dumps(result, indent=2) + "\n")
        (out / "annotated.jpg").write_bytes(picture)
    except (DemoFailed, StackFailed, OSError) as error:
        raise typer.Exit(fail(f"The demo failed: {error}")) from error
    except httpx.HTTPError as error:
        raise typer.Exit(fail(f"The demo failed: the API does not answer as it should: {error!r}")) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(json.dumps(result, indent=2))
    console.print(f"{len(result['faces'])} face(s). See {out / 'callback.json'} and {out / 'annotated.jpg'}.")


@contextmanager
def _running_stack(settings: Settings, console: Console) -> Iterator[None]:
    """With the stack that runs, or one that lives as long as the block."""
    if is_ready(settings):
        yield
        return
    log = settings.home.absolute() / "logs" / "stack.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        stack = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--exit-with-parent"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"COLUMNS": "200"},
        )
    try:
        with console.status("Starting the stack (Prefect server, API, worker)…") as status:
            try:
                await_parts(settings, stack, PARTS, seconds=math.inf, say=status.update)  # it gives up by itself
            except StackFailed as error:
                raise StackFailed(log.read_text().strip() or str(error)) from error
        yield
    finally:
        with console.status("Stopping the stack…"):
            stack.send_signal(signal.SIGINT)
            stack.wait(timeout=90)


def _submit_and_wait(
    settings: Settings, image: Path, callback_url: str, callbacks: "SimpleQueue[dict[str, Any]]", console: Console
) -> tuple[dict[str, Any], bytes]:
    with httpx.Client(base_url=settings.local_url, timeout=30, trust_env=False) as client:
        answer = client.post(
            "/v1/images",
            files={"image": (image.name, image.read_bytes())},
            data={"request_id": f"demo-{image.stem}"[:200], "callback_url": callback_url},
        )
        if answer.status_code == 401:
            raise DemoFailed("the stack wants an API key; try the demo without FACET_API_KEYS, in another FACET_HOME.")
        if answer.status_code != 202:
            raise DemoFailed(f"the API answered {answer.status_code}: {answer.json().get('detail')}")
        link = f"/v1/images/{answer.json()['id']}"
        begun = time.monotonic()
        with console.status("Submitted…") as status:
            while True:
                try:
                    result = callbacks.get(timeout=0.5)
                    break
                except Empty:
                    state = client.get(link).json()
                    seconds = time.monotonic() - begun
                    status.update(f"{image.name}: {state['status']}, {seconds:.0f} s")
                    if seconds > settings.start_seconds:
                        where = f"see {settings.local_url}{link} and {settings.home.absolute() / 'logs'}"
                        raise DemoFailed(
                            f"no callback after {seconds:.0f} s, and the image is {state['status']}; {where}"
                        ) from None
        if result["status"] != "completed":
            raise DemoFailed(f"the image is {result['status']}: {result['failure']['reason']}")
        picture = client.get(f"{link}/annotated")
        picture.raise_for_status()
        return result, picture.content


@contextmanager
def _receiver() -> Iterator[tuple[str, "SimpleQueue[dict[str, Any]]"]]:
    """A callback receiver on a free port of this machine, and what it has received."""
    received: SimpleQueue[dict[str, Any]] = SimpleQueue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """The demo's own output says what there is to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/callback", received
    finally:
        server.shutdown()
        server.server_close()
