"""What Prefect's server is made of, as an ASGI application on its database."""

from prefect.server.api.server import create_app
from prefect.server.database import provide_database_interface
from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config

__all__ = [
    "SQLITE_BEGIN_MODE",
    "AioSqliteConfiguration",
    "create_app",
    "provide_database_interface",
    "set_database_config",
]
