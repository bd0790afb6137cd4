"""How many workers, API processes, Prefect servers and database connections a load needs: `make scaling`.

Each part's CPU an image is `each + run / batch`: what an image costs, and its share of what its flow run costs. Both
come from two of the measured points in RESULTS.md; the others say how wrong the model is.
"""

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "RESULTS.md"
MAX_BATCH = 64
BUSY = 0.7
"""The share of a core that is planned with for what answers requests."""
SLOTS_BUSY = 0.9
"""And for what works off the queue: batches grow instead of waits."""
SLOTS_A_WORKER = 2
RUN_SECONDS = 0.6
"""Seconds that a flow run takes besides its images' work: what a single photo's latency is above bare detection."""
POOL = {"api": 15, "worker": 5 + 2 * 2, "prefect": 15}
"""Database connections of a process at most: SQLAlchemy's pool in the API, one or two for each of a worker's children,
and Prefect's own pool."""
PARTS = ("prefect", "api", "worker", "worker's children")


@dataclass(frozen=True, slots=True)
class Point:
    """A measurement: CPU milliseconds an image by part, at a mean batch."""

    name: str
    batch: float
    cpu: dict[str, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of one part: an image, and a flow run."""

    each: float
    run: float

    def at(self, batch: float) -> float:
        return self.each + self.run / batch


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rate of images a second needs."""

    rate: float
    batch: float
    runs_a_second: float
    slots: int
    workers: int
    apis: int
    prefect_servers: int
    prefect_cores: float
    cores: float
    connections: int


def points(text: str | None = None) -> list[Point]:
    """The tables of warm workers in RESULTS.md."""
    found = []
    blocks = re.split(r"\n(?=[A-Z][^\n]*: \d+ images\n)", text or RESULTS.read_text())
    for block in blocks:
        title = re.match(r"([^\n]*): (\d+) images\n", block)
        runs = re.search(r"(\d+) flow runs, batch sizes", block)
        if not title or not runs or "stock" in title[1]:
            continue
        rows = re.findall(r"^│ ([a-z' ]+?) +│ +(\d+) │", block, re.MULTILINE)
        cpu = {name: float(value) for name, value in rows if name in PARTS}
        found.append(Point(title[1], int(title[2]) / int(runs[1]), cpu))
    return found


def fit(measured: list[Point]) -> dict[str, Cost]:
    """Costs from the point of the largest batches and from saturation with batches of one."""
    large = max(measured, key=lambda point: point.batch)
    single = next(point for point in measured if point.batch == 1 and "saturation" in point.name)
    costs = {}
    for part in PARTS:
        run = (single.cpu[part] - large.cpu[part]) / (1 - 1 / large.batch)
        costs[part] = Cost(large.cpu[part] - run / large.batch, run)
    return costs


def plan(rate: float, costs: dict[str, Cost]) -> Plan:
    """For a steady rate. Batches grow with the load, as the dispatcher makes them, up to FACET_MAX_BATCH."""
    batch, slots = 1.0, 1
    for _ in range(100):  # slots and batch depend on each other; half steps, so that they settle
        work = costs["worker's children"].at(batch) / 1000
        slots = max(1, math.ceil(rate * work / SLOTS_BUSY))
        arrive = rate * (RUN_SECONDS + batch * work) / slots  # while one run of each slot lasts
        batch = (batch + min(MAX_BATCH, max(1.0, arrive))) / 2
    use = {part: rate * costs[part].at(batch) / 1000 for part in PARTS}
    workers = math.ceil(slots / SLOTS_A_WORKER)
    apis = max(1, math.ceil(use["api"] / BUSY))
    servers = max(1, math.ceil(use["prefect"] / BUSY))
    connections = apis * POOL["api"] + workers * POOL["worker"] + (servers + 1) * POOL["prefect"]
    cores = sum(use.values()) / BUSY
    return Plan(rate, batch, rate / batch, slots, workers, apis, servers, use["prefect"], cores, connections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rates", nargs="*", type=float, default=[1, 10, 100, 1000], help="images a second")
    measured, console = points(), Console(width=120)
    costs = fit(measured)
    table = Table("CPU ms", "an image", "a flow run", title="Costs")
    for part, cost in costs.items():
        table.add_row(part, f"{cost.each:.0f}", f"{cost.run:.0f}")
    console.print(table)
    table = Table("measured point", "batch", "CPU ms an image", "the model's", title="Checked")
    for point in measured:
        total, model = sum(point.cpu.values()), sum(cost.at(point.batch) for cost in costs.values())
        table.add_row(point.name, f"{point.batch:.1f}", f"{total:.0f}", f"{model:.0f} ({model / total - 1:+.0%})")
    console.print(table)
    heads = ("images/s", "batch", "flow runs/s", "slots", "workers", "APIs", "Prefect servers", "cores", "connections")
    table = Table(*heads, title=f"Needed: slots {SLOTS_BUSY:.0%} busy, the rest {BUSY:.0%}")
    for rate in parser.parse_args().rates:
        p = plan(rate, costs)
        row = (p.rate, p.batch, p.runs_a_second, p.slots, p.workers, p.apis, p.prefect_servers, p.cores, p.connections)
        table.add_row(
            *(f"{value:.3g}" if isinstance(value, float) and value < 100 else f"{value:.0f}" for value in row)
        )
    console.print(table)


if __name__ == "__main__":
    main()
