"""What the routes share: the services of the process and its dispatcher."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api.readiness import Readiness
from deployments.prefect.flow_runs import PrefectFlowRuns
from facet.services import Services
from facet.work.dispatcher import Dispatcher


@dataclass(frozen=True, slots=True)
class State:
    services: Services
    flow_runs: PrefectFlowRuns
    dispatcher: Dispatcher
    readiness: Readiness


def _state(request: Request) -> State:
    return cast(State, request.app.state.facet)


AppState = Annotated[State, Depends(_state)]
