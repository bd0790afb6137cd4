"""The console: pages that anyone may load, since they hold nothing; their script asks the API, with the user's key."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from api.access import ASSETS
from api.security_headers import SECURITY_HEADERS
from api.state import AppState, State
from facet.annotations import Annotation

router = APIRouter(include_in_schema=False)

_HERE = Path(__file__).parent
_TEMPLATES = Jinja2Templates(directory=_HERE / "templates")
_POLICY = (
    f"{SECURITY_HEADERS['Content-Security-Policy']}; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class Assets(StaticFiles):
    """The pages' scripts and styles, and Swagger UI's. Browsers keep them, and ask whether they are still the same."""

    def __init__(self) -> None:
        super().__init__(directory=_HERE / "static", packages=[("fastapi_offline", "static")])

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


@router.get("/")
def submit_page(request: Request, state: AppState) -> HTMLResponse:
    """Submit photos, and watch them."""
    return _page(request, state, "submit")


@router.get("/gallery")
def gallery_page(request: Request, state: AppState) -> HTMLResponse:
    """The images that were submitted."""
    return _page(request, state, "gallery")


@router.get("/image")
def image_page(request: Request, state: AppState) -> HTMLResponse:
    """One image, `?id=`."""
    return _page(request, state, "image")


def _page(request: Request, state: State, name: str) -> HTMLResponse:
    root = request.scope.get("root_path", "").rstrip("/")
    content = {
        "page": name,
        "root": root,
        "assets": f"{root}{ASSETS}".rstrip("/"),
        "settings": state.services.settings,
        "annotations": list(Annotation),
    }
    headers = {"Content-Security-Policy": _POLICY}
    return _TEMPLATES.TemplateResponse(request, f"{name}.html", content, headers=headers)
