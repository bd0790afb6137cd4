"""Commands for bulk reprocessing."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.images import AsJson, Key, Url, api, show, track, watched
from facet.client import Reprocessing
from facet.reprocessing.request import ReprocessingRequest

_POLL_SECONDS = 1.0
_FIELDS = ReprocessingRequest.model_fields


def _help(field: str) -> str:
    return _FIELDS[field].description or ""


def reprocess(
    statuses: Annotated[list[str] | None, typer.Option("--status", help=_help("statuses"))] = None,
    submitted_from: Annotated[datetime | None, typer.Option("--from", help=_help("submitted_from") + " UTC.")] = None,
    submitted_until: Annotated[
        datetime | None, typer.Option("--until", help=_help("submitted_until") + " UTC.")
    ] = None,
    submitted_within_hours: Annotated[
        float | None, typer.Option("--within-hours", help=_help("submitted_within_hours"))
    ] = None,
    request_id_prefix: Annotated[str | None, typer.Option(help=_help("request_id_prefix"))] = None,
    owner: Annotated[str | None, typer.Option(help=_help("owner"))] = None,
    other_detector: Annotated[
        bool, typer.Option("--other-detector/--any-detector", help=_help("other_detector"))
    ] = True,
    at_most: Annotated[int | None, typer.Option(help=_help("at_most"))] = None,
    min_confidence: Annotated[float | None, typer.Option(help=_help("min_confidence"))] = None,
    min_face_size: Annotated[int | None, typer.Option(help=_help("min_face_size"))] = None,
    call_back: Annotated[bool, typer.Option("--call-back", help=_help("call_back"))] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=_help("dry_run"))] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show its progress until it is over.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Detect again in many stored images, at a lower priority than submissions."""
    asked: dict[str, Any] = {
        "statuses": statuses or None,
        "submitted_from": _utc(submitted_from),
        "submitted_until": _utc(submitted_until),
        "submitted_within_hours": submitted_within_hours,
        "request_id_prefix": request_id_prefix,
        "owner": owner,
        "other_detector": other_detector,
        "at_most": at_most,
        "min_confidence": min_confidence,
        "min_face_size": min_face_size,
        "call_back": call_back,
        "dry_run": dry_run,
    }
    with api(url, api_key) as client:
        row = client.reprocess({name: value for name, value in asked.items() if value is not None})
        if wait or dry_run:
            with watched(hidden=as_json) as progress:
                bar = progress.add_task("waiting", total=None)
                while row["state"] == "active":
                    time.sleep(_POLL_SECONDS)
                    row = client.reprocessing(row["id"])
                    track(progress, bar, row)
    if as_json:
        typer.echo(json.dumps(row))
    elif dry_run:
        typer.echo(f"{row['total']} image(s) match; nothing was changed.")
    else:
        typer.echo(f"Reprocessing {row['id']} is {row['state']}: {_so_far(row)}")
    if row["failed"]:
        raise typer.Exit(1)


reprocessings = typer.Typer(no_args_is_help=True, add_completion=False, help="The reprocessings that were asked for.")


@reprocessings.command("list")
def list_reprocessings(
    state: Annotated[str | None, typer.Option(help="active, paused, completed or cancelled.")] = None,
    latest: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """The latest reprocessings and how far they are."""
    with api(url, api_key) as client:
        listed = client.reprocessings(state=state, limit=min(latest, 200))
        rows = [row for row, _ in zip(listed, range(latest), strict=False)]
    _show(rows, as_json)


def _one(change: str, words: str) -> None:
    def command(
        reprocessing_id: Annotated[str, typer.Argument(metavar="ID")],
        as_json: AsJson = False,
        url: Url = None,
        api_key: Key = None,
    ) -> None:
        with api(url, api_key) as client:
            row = (
                client.reprocessing(reprocessing_id)
                if change == "show"
                else client.change_reprocessing(reprocessing_id, change)
            )
        _show([row], as_json)

    reprocessings.command(change, help=words)(command)


_one("show", "How far one is.")
_one("pause", "Take no more images for now.")
_one("resume", "Go on where it was.")
_one("cancel", "End it for good; images that still wait keep the result that they have.")


def _show(rows: list[Reprocessing], as_json: bool) -> None:
    show(
        rows,
        as_json,
        {
            "reprocessing": lambda r: r["id"],
            "state": lambda r: r["state"],
            "asked for": lambda r: r["created_at"][:19],
            "so far": _so_far,
            "flow run": lambda r: r["flow_run"]["url"] if r["flow_run"] else "",
        },
    )


def _so_far(row: Reprocessing) -> str:
    total = "?" if row["total"] is None else row["total"]
    return f"{row['completed']} of {total} completed, {row['failed']} failed, {row['open']} under way"


def _utc(time: datetime | None) -> str | None:
    return time.replace(tzinfo=time.tzinfo or UTC).isoformat() if time else None
