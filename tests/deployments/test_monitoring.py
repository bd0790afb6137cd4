"""Alerts and the dashboard ask for what `/metrics` gives, in PromQL that parses; each alert has its page."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from facet.services import Services
from facet.settings import Settings
from tests.support.databases import make_tables

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deployments" / "monitoring"
ALERTS = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((MONITORING / "dashboards" / "facet.json").read_text())
EXPRESSIONS = [alert["expr"] for alert in ALERTS] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]
PROMETHEUS_OWN = {"up"}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """The labels of each sample that `/metrics` gives on an empty database."""
    services = Services(Settings(home=tmp_path_factory.mktemp("home")))
    make_tables(services.database)
    client = TestClient(create_app(services), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1))
    client.get("/healthz")
    samples: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").raise_for_status().text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.labels)
    return samples


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_given(expression: str, given: dict[str, list[dict[str, str]]]) -> None:
    selectors = list(_selectors(promql_parser.parse(expression)))
    assert selectors
    for selector in selectors:
        if selector.name in PROMETHEUS_OWN:
            continue
        assert selector.name in given, selector.name
        for matcher in selector.matchers.matchers:
            known = {labels[matcher.name] for labels in given[selector.name] if matcher.name in labels}
            if str(matcher.op) == "MatchOp.Equal" and matcher.name != "job":
                assert matcher.value in known, f"{selector.name} has no {matcher.name}={matcher.value}: {known}"


def _selectors(node: Any) -> Any:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "args", "vector_selector", "param"):
        child = getattr(node, name, None)
        for each in child if isinstance(child, list) else [child]:
            if each is not None:
                yield from _selectors(each)


def test_each_alert_has_its_page() -> None:
    headings = re.findall(r"^### (Facet\w+)$", (ROOT / "docs" / "production.md").read_text(), re.MULTILINE)
    assert [alert["alert"] for alert in ALERTS] == headings
    for alert in ALERTS:
        assert alert["annotations"]["runbook_url"] == f"docs/production.md#{alert['alert'].lower()}"
        if alert["labels"]["severity"] == "critical":
            assert "docker compose run --rm doctor" in alert["annotations"]["description"]


def test_prometheus_sends_the_key_that_it_is_given() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    prometheus = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["prometheus"]
    [file] = {job["authorization"]["credentials_file"] for job in config["scrape_configs"]}
    assert file in [f"/run/secrets/{name}" for name in prometheus["secrets"]]


def test_prometheus_scrapes_the_api_and_reads_the_rules() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    [job] = config["scrape_configs"]
    assert job["job_name"] == "facet" and job["dns_sd_configs"][0]["names"] == ["api"]
    assert "api" in compose["services"]
    [rules] = config["rule_files"]
    assert any(volume.endswith(f":{rules}:ro") for volume in compose["services"]["prometheus"]["volumes"])


_BAD = {
    'facet_images{status="queued"}': "0 5x20",
    'facet_runs{state="running"}': "0x21",
    "facet_queue_oldest_seconds": "0+60x21",
    'facet_images{status="failed"}': "0+2x21",
    'facet_deliveries{state="pending"}': "200x21",
    'facet_deliveries{state="failed"}': "0x5 1x20",
    "facet_maintenance_overdue": "0x5 1x20",
    'facet_http_request_duration_seconds_count{status="200"}': "0+10x21",
    'facet_http_request_duration_seconds_count{status="500"}': "0+10x21",
    'up{job="facet"}': "0x21",
}
_CALM = {
    'facet_images{status="queued"}': "5x21",
    'facet_runs{state="running"}': "2x21",
    "facet_queue_oldest_seconds": "3x21",
    'facet_images{status="failed"}': "7x21",
    'facet_deliveries{state="pending"}': "4x21",
    'facet_deliveries{state="failed"}': "1x21",
    "facet_maintenance_overdue": "0x21",
    'facet_http_request_duration_seconds_count{status="200"}': "0+100x21",
    'facet_http_request_duration_seconds_count{status="500"}': "0+1x21",
    'up{job="facet"}': "1x21",
}


@pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus' promtool is not installed")
@pytest.mark.parametrize(("series", "fire"), [(_BAD, True), (_CALM, False)], ids=["bad", "calm"])
def test_alerts_fire_when_they_should(series: dict[str, str], fire: bool, tmp_path: Path) -> None:
    firing = [{"labels": f'{{alertname="{alert["alert"]}"}}', "value": 1} for alert in ALERTS] if fire else []
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "20m", "exp_samples": firing}
        ],
    }
    rules = {"rule_files": [str(MONITORING / "alerts.yml")], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
