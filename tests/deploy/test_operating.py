"""What operators look at and follow: dashboards, alarms and the runbook name what there is."""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
import typer.main
import yaml

from app.cli.commands import cli
from app.platform.limits import LIMITS
from app.platform.metrics import Metrics
from app.platform.problems import Problem
from app.platform.settings import Settings
from tests.deploy.reading import DEPLOY
from tests.support.documents import anchors
from tests.support.service import Service

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
GUIDE = DEPLOY / "README.md"
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "tokenvend.json").read_text(encoding="utf-8"))
SERIES_OF = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


def series() -> dict[str, set[str]]:
    """Name of each series that a replica has, and its labels."""
    metrics = Metrics()
    found: dict[str, set[str]] = {}
    for collector in metrics.registry._collector_to_names:
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", ()))
            for suffix in SERIES_OF[family.type]:
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in ALERTS] + panels


class TestExpressions:
    @pytest.mark.parametrize("expression", expressions())
    def test_name_series_and_labels_that_there_are(self, expression: str) -> None:
        known = series()
        for name, selector in re.findall(r"\b(tokenvend_\w+)(?:\{([^}]*)\})?", expression):
            assert name in known, name
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[name], (name, selector)
        grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
        used = {label for name in re.findall(r"\btokenvend_\w+", expression) for label in known[name]}
        assert grouped <= used | {"le", "instance"}

    def test_use_every_metric(self) -> None:
        text = "\n".join(expressions())
        families = [family.name for family in Metrics().registry.collect()]
        assert [name for name in families if name not in text] == []

    def test_of_alerts_ask_for_label_values_that_there_are(self) -> None:
        sources = re.findall(r'outcome=~?"([^"]+)"', "\n".join(expressions()))
        metrics = Metrics()
        counters = (metrics.sts_calls, metrics.usage_counts, metrics.webhook_deliveries)
        documented = "".join(counter._documentation for counter in counters)
        assert all(value in documented for source in sources for value in source.split("|"))

    def test_of_alerts_know_each_lock_out(self) -> None:
        (expression,) = [rule["expr"] for rule in ALERTS if rule["alert"] == "AccountsAreGuessedAt"]
        (asked_for,) = re.findall(r'limit=~?"([^"]+)"', expression)
        found = {name for name in LIMITS if re.fullmatch(asked_for, name)}
        assert found == {name for name, limit in LIMITS.items() if limit.amount.endswith("/day")}

    def test_of_alerts_ask_for_jobs_that_the_guide_scrapes(self) -> None:
        jobs = set(re.findall(r'job="([^"]+)"', "\n".join(rule["expr"] for rule in ALERTS)))
        assert jobs == set(re.findall(r"- job_name: (\S+)", GUIDE.read_text(encoding="utf-8")))


class TestAlarms:
    def test_of_prometheus_lead_to_the_runbook(self) -> None:
        for rule in ALERTS:
            link = rule["annotations"]["runbook_url"]
            assert link.startswith("deploy/RUNBOOK.md#")
            assert link.partition("#")[2] in anchors(RUNBOOK), link
            assert rule["labels"]["severity"] in ("page", "ticket")

    def test_of_cloudwatch_lead_to_the_runbook(self) -> None:
        found = 0
        for template in (DEPLOY / "aws").glob("*.yaml"):
            text = template.read_text()
            links = re.findall(r'AlarmDescription: "deploy/RUNBOOK.md#([\w-]+)"', text)
            assert len(links) == text.count("AWS::CloudWatch::Alarm"), template.name
            assert set(links) <= set(anchors(RUNBOOK))
            found += len(links)
        assert found > 10

    def test_have_a_section_each(self) -> None:
        alarms = RUNBOOK.partition("# Alarms")[2].partition("# Procedures")[0]
        linked = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in ALERTS}
        for template in (DEPLOY / "aws").glob("*.yaml"):
            linked |= set(re.findall(r"RUNBOOK.md#([\w-]+)", template.read_text()))
        assert sorted(anchors(alarms)) == sorted(linked)


def commands(markdown: str) -> Iterator[str]:
    """Each `tokenvend …` of its text and of its blocks."""
    for block in re.findall(r"```sh\n(.*?)```", markdown, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"^tokenvend [^#|;\n]+", line.strip())
    for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)):
        yield from re.findall(r"(?:^|-- |service-a |exec\s+tokenvend )(tokenvend (?!tokenvend)[a-z][^`]*)", span)


def parse(line: str) -> None:
    """Raises what `tokenvend` says of a line that it cannot read. Nothing runs."""
    command: Any = typer.main.get_command(cli)
    arguments = shlex.split(line)[1:]
    context = click.Context(command, info_name="tokenvend")
    while hasattr(command, "commands"):
        name = arguments.pop(0)
        assert name in command.commands, line
        command = command.commands[name]
    command.make_context(command.name, arguments, parent=context, resilient_parsing=False)


DOCUMENTS = [document for document in (DEPLOY / "RUNBOOK.md", GUIDE) if document.exists()]


class TestRunbook:
    def test_every_command_is_one(self) -> None:
        lines = [line for document in DOCUMENTS for line in commands(document.read_text(encoding="utf-8"))]
        assert len(set(lines)) > 8
        for line in lines:
            parse(line)

    def test_a_command_that_is_none_is_noticed(self) -> None:
        for line in ("tokenvend keys turn", "tokenvend prune --audit-older-than", "tokenvend doctor --quick"):
            with pytest.raises(Exception):  # noqa: B017, PT011 - of typer's own kinds, or the assertion
                parse(line)

    def test_every_code_is_one(self) -> None:
        codes = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)?", RUNBOOK.partition("| cause |")[0], re.MULTILINE)
        assert {code for row in codes for code in row if code} <= Problem.catalogue.keys()

    def test_capacity_adds_up(self) -> None:
        rows = [line.strip("| \n").split(" | ") for line in RUNBOOK.splitlines() if re.match(r"\| [\d,]+ \|", line)]
        assert len(rows) == 4
        for _users, opens, vends, replicas, connections, *_ in rows:
            at_peak, count = int(vends.replace(",", "")), int(replicas)
            assert at_peak >= 3 * int(opens.replace(",", "")) / 3600
            assert count >= 2
            assert (count - 1) * 100 < at_peak <= count * 100 or count == 2
            assert int(connections) == count * (Settings.model_fields["database_pool_size"].default + 2)

    def test_costs_add_up(self) -> None:
        prices = {
            what: float(price.replace(",", ""))
            for what, price in re.findall(r"^\| (.+) \| \$([\d.,]+) \|$", RUNBOOK, re.MULTILINE)
        }

        def price(what: str) -> float:
            (found,) = [price for line, price in prices.items() if what in line]
            return found

        rows = [line.strip("| \n").split(" | ") for line in RUNBOOK.splitlines() if re.match(r"\| [\d,]+ \|", line)]
        for users, *_, replicas, _connections, database, _calls, cost in rows:
            kind, storage = database.removesuffix(" GiB").split(", ")
            opens = int(users.replace(",", "")) * 150 / 1_000_000
            parts = int(replicas) * price("a replica") + price(f"zones, {kind}") + int(storage) * price("a GiB")
            whole = parts + price("Valkey") + price("NAT gateway") + opens * price("million opens")
            assert f"${math.ceil(whole / 10) * 10:,}" == cost, whole
        assert f"from {rows[0][-1]} " in GUIDE.read_text(encoding="utf-8")


@pytest.mark.both_databases
class TestMassSignOut:
    def test_ends_all_but_guests(
        self, make_service: Callable[..., Service], database_url: str, request: pytest.FixtureRequest
    ) -> None:
        service = make_service()
        phone, tablet = service.device("ada@example.org"), service.device("ben@example.org")
        guest = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
        (statement,) = re.findall(r"```sql\n(UPDATE sessions.*?)```", RUNBOOK, re.DOTALL)
        if database_url.startswith("sqlite"):
            statement = statement.replace("now()", "CURRENT_TIMESTAMP")
        service.sql(statement)
        for device in (phone, tablet):
            assert device.get("/v1/me").status_code == 401
            assert service.refresh(device.refresh_token).status_code == 401
        assert service.refresh(guest["refresh_token"]).status_code == 200
