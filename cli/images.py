"""Commands that send photos to the API and read their results."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.output import fail
from cli.photos import Photo, find, told
from cli.processes import api_url
from facet.annotations import Annotation
from facet.client import Accepted, ApiError, Client, Image, Reprocessing, SubmissionFields
from facet.settings import get_settings

_SENDERS = 4
Row = TypeVar("Row", bound=Mapping[str, Any])

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="FACET_URL", help="The API. Default: this machine's, else FACET_PUBLIC_URL."),
]
Key = Annotated[str | None, typer.Option(envvar="FACET_API_KEY", help="API key, sent as Bearer.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one line for each thing.")]


def submit(
    sources: Annotated[list[str], typer.Argument(metavar="FILE|DIR|URL...", help="Photos, folders of photos, URLs.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the results, and sum them up.")] = False,
    callback: Annotated[str | None, typer.Option(help="URL that each result is POSTed to.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Name of the request. Default: each file's name.")] = None,
    min_confidence: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    min_face_size: Annotated[int | None, typer.Option(min=10)] = None,
    annotate: Annotated[Annotation, typer.Option(help="What is made of the faces in the picture.")] = Annotation.BOXES,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Submit photos: files, all photos of folders, whatever they are called, or URLs."""
    photos, left_out = find(sources)
    if left_out:
        typer.echo(told(left_out, as_json=as_json), err=True)
    fields: SubmissionFields = {
        "callback_url": callback,
        "min_confidence": min_confidence,
        "min_face_size": min_face_size,
        "annotate": annotate.value,
    }
    refused: list[tuple[str, str]] = []
    ended: list[Image] = []
    with api(url, api_key) as client, watched(hidden=as_json) as progress:
        sending = progress.add_task("submitted", total=len(photos))

        def send(photo: Photo) -> Accepted | None:
            source, name = photo
            try:
                return client.submit(source, request_id=request_id or name, **fields)
            except (ApiError, OSError) as error:
                if isinstance(error, ApiError) and error.status is None:
                    raise
                refused.append((str(source), str(error)))
                return None
            finally:
                progress.advance(sending)

        with ThreadPoolExecutor(_SENDERS) as pool:
            accepted = [image for image in pool.map(send, photos) if image]
        if wait:
            ended = _await(client, [image["id"] for image in accepted], progress)
    for image in ended or accepted:
        if as_json:
            typer.echo(json.dumps(image))
        elif not wait:
            typer.echo(f"{image['id']}  {image['request_id']}")
    for source, why in refused:
        typer.secho(f"{source}: {why}", fg="red", err=True)
    failed = [image for image in ended if image["status"] != "completed"]
    if wait and not as_json:
        for image in failed:
            why = image["failure"]["reason"] if image["failure"] else image["status"]
            typer.secho(f"{image['request_id']} ({image['id']}): {why}", fg="red", err=True)
        faces = sum(len(image["faces"]) for image in ended)
        typer.echo(
            f"{len(ended) - len(failed)} completed with {faces} face(s), {len(failed)} failed, {len(refused)} refused."
        )
    if refused or failed:
        raise typer.Exit(1)


def _await(client: Client, image_ids: list[str], progress: Progress) -> list[Image]:
    ended, waiting = [], progress.add_task("finished", total=len(image_ids))
    for image in client.wait(image_ids):
        ended.append(image)
        progress.advance(waiting)
    return ended


def status(
    image_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Default: the latest images.")
    ] = None,
    latest: Annotated[int, typer.Option(min=1, max=200, help="How many of the latest.")] = 10,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """What became of images; without an id, of the latest."""
    with api(url, api_key) as client:
        if image_ids:
            images = [client.image(image_id) for image_id in image_ids]
        else:
            images = [image for image, _ in zip(client.images(limit=latest), range(latest), strict=False)]
    show(
        images,
        as_json,
        {
            "image": lambda i: i["id"],
            "request": lambda i: i["request_id"],
            "status": lambda i: i["status"],
            "faces": lambda i: str(len(i["faces"])),
            "flow run": lambda i: i["flow_run"]["url"] if i["flow_run"] else "",
            "failure": lambda i: i["failure"]["reason"] if i["failure"] else "",
        },
    )


def result(
    image_id: Annotated[str, typer.Argument(metavar="ID")],
    save: Annotated[Path | None, typer.Option(help="Folder for ID.json and the annotated ID.jpg.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """The faces of an image; with --save also its annotated picture."""
    with api(url, api_key) as client:
        image = client.image(image_id)
        if save:
            save.mkdir(parents=True, exist_ok=True)
            (save / f"{image['id']}.json").write_text(json.dumps(image, indent=2) + "\n")
            if picture := client.annotated(image["id"]):
                (save / f"{image['id']}.jpg").write_bytes(picture)
    if as_json:
        typer.echo(json.dumps(image))
        return
    failure = f": {image['failure']['reason']}" if image["failure"] else ""
    typer.echo(f"{image['request_id']}: {image['status']}{failure}")
    for face in image["faces"]:
        typer.echo(f"{face['confidence']:.4f}  x, y, width, height: {face['box']}")


def deliveries(
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed.")] = None,
    image: Annotated[str | None, typer.Option(metavar="ID", help="Only of this image.")] = None,
    redeliver: Annotated[
        str | None, typer.Option(metavar="ID", help="Send the callback of this delivery again.")
    ] = None,
    latest: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """The deliveries of callbacks and what became of them; or send a callback again."""
    with api(url, api_key) as client:
        if redeliver:
            found = [client.redeliver(redeliver)]
        else:
            listed = client.deliveries(state=state, image_id=image, limit=min(latest, 200))
            found = [delivery for delivery, _ in zip(listed, range(latest), strict=False)]
    show(
        found,
        as_json,
        {
            "delivery": lambda d: d["id"],
            "image": lambda d: d["image_id"],
            "state": lambda d: d["state"],
            "attempts": lambda d: str(len(d["attempts"])),
            "next": lambda d: (d["next_attempt_at"] or "")[:19],
            "url": lambda d: d["url"],
        },
    )


@contextmanager
def api(url: str | None, api_key: str | None) -> Iterator[Client]:
    """A client for the block; what the API refuses ends the command with its words."""
    client = Client(url or api_url(get_settings()), api_key=api_key, patience=60)
    try:
        yield client
    except ApiError as error:
        raise typer.Exit(fail(str(error))) from error
    finally:
        client.close()


def show(rows: Sequence[Row], as_json: bool, columns: dict[str, Callable[[Row], str]]) -> None:
    """A table, or JSON lines."""
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(column(row) for column in columns.values()))
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else 1000).print(table)


@contextmanager
def watched(*, hidden: bool) -> Iterator[Progress]:
    """Progress bars where they disturb no output."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=hidden) as progress:
        yield progress


def track(progress: Progress, task: TaskID, reprocessing: Reprocessing) -> None:
    """Move the bar of a reprocessing."""
    done = reprocessing["taken"] - reprocessing["open"]
    progress.update(task, total=reprocessing["total"], completed=done, description=reprocessing["state"])
