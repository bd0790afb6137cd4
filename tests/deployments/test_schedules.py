"""Prefect's scheduler works with the libraries that are locked; it fails silently where it does not."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.prefect_database import migrate_prefect

_SCRIPT = """
import asyncio
from datetime import timedelta

from prefect.server import models
from prefect.server.database import provide_database_interface
from prefect.server.schemas.core import Deployment, DeploymentSchedule, Flow
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

async def main():
    database = provide_database_interface()
    async with database.session_context(begin_transaction=True) as session:
        flow = await models.flows.create_flow(session=session, flow=Flow(name="flow"))
        for number, schedule in enumerate((
            IntervalSchedule(interval=timedelta(minutes=5)),
            CronSchedule(cron="30 3 * * *", timezone="UTC"),
            CronSchedule(cron="30 3 * * *", timezone="Europe/Berlin"),
            RRuleSchedule(rrule="FREQ=HOURLY"),
        )):
            schedules = [DeploymentSchedule(schedule=schedule, active=True)]
            deployment = Deployment(name=f"deployment-{number}", flow_id=flow.id, schedules=schedules)
            deployment_id = (await models.deployments.create_deployment(session=session, deployment=deployment)).id
            await session.flush()
            print(len(await models.deployments.schedule_runs(session=session, deployment_id=deployment_id)))

asyncio.run(main())
"""


def test_schedules_of_every_kind_make_flow_runs(tmp_path: Path) -> None:
    migrate_prefect(tmp_path)
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    made = [int(count) for count in done.stdout.split()]
    assert len(made) == 4 and all(made), made
