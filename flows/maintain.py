"""Set right what nothing else has, and remove what is old."""

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from deployments.prefect.flow_runs import PrefectFlowRuns, get_dispatcher
from facet.maintenance import MaintenanceReport
from facet.maintenance import maintain as maintain_all
from facet.services import get_services


@flow(name="maintain", persist_result=False)
def maintain() -> State[None]:
    """Audit what the dispatchers' timers keep right, rows against objects, and what is past its time.

    Running it by hand is safe at any time. A run that could not do all of it ends Failed, and the next one goes on.
    """
    services = get_services()
    report = maintain_all(services, get_dispatcher(services), PrefectFlowRuns())
    _show(report)
    return Failed(message=report.summary) if report.errors else Completed(message=report.summary)


def _show(report: MaintenanceReport) -> None:
    log = get_run_logger()
    for finding in report.findings:
        level = log.warning if finding.timers and finding.found else log.info
        level("%s: %d found, %d mended. %s", finding.kind, finding.found, finding.mended, ", ".join(finding.examples))
    for error in report.errors:
        log.error(error)
    create_table_artifact(
        key="maintenance",
        table=[
            {
                "what": finding.kind,
                "found": finding.found,
                "mended": finding.mended,
                "what is done": finding.remedy,
                "such as": ", ".join(finding.examples),
            }
            for finding in report.findings
        ],
        description=report.summary,
    )
