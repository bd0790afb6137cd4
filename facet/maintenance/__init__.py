"""What sets right whatever the rest of the service has left wrong, and removes what is old."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facet.errors import Unavailable
from facet.flow_runs import FlowRuns
from facet.maintenance.findings import Finding
from facet.maintenance.objects import ObjectAudit
from facet.maintenance.retention import Retention
from facet.maintenance.timers import TimerAudit
from facet.services import Services
from facet.work.dispatcher import Dispatcher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What was found and mended, and what stood in the way of the rest."""

    findings: Sequence[Finding]
    errors: Sequence[str]

    @property
    def summary(self) -> str:
        found = sum(finding.found for finding in self.findings)
        missed = sum(finding.found for finding in self.findings if finding.timers)
        words = [f"{found} found, {sum(finding.mended for finding in self.findings)} mended."]
        if missed:
            words.append(f"The dispatchers' timers missed {missed} of them: see that an API process runs.")
        return " ".join([*words, *self.errors])


def maintain(services: Services, dispatcher: Dispatcher, flow_runs: FlowRuns) -> MaintenanceReport:
    """Audit, mend and remove. A part that cannot be done now holds up none of the others."""
    database, store, catalog = services.database, services.store, services.catalog
    settings, claims = services.settings, services.claims
    parts: list[Callable[[], list[Finding]]] = [
        TimerAudit(database, dispatcher, flow_runs, settings).run,
        Retention(database, catalog, services.idempotency, settings).run,
        ObjectAudit(database, store, catalog, claims, settings).run,
    ]
    findings: list[Finding] = []
    errors: list[str] = []
    for part in parts:
        try:
            findings += part()
        except Unavailable as error:
            errors.append(str(error))
    errors += [f"{finding.kind}: {finding.alarm}" for finding in findings if finding.alarm]
    if not errors:
        try:
            services.completion.record()
        except Unavailable as error:
            errors.append(str(error))
    return MaintenanceReport(findings, errors)
