"""The commands of the AWS way, read against the templates, and the runbook's functions, run with a stand-in for AWS."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.platform.environment import load_settings
from app.platform.settings import PREFIX, Settings
from tests.deploy.reading import DEPLOY
from tests.deploy.templates import decoded
from tests.deploy.test_operating import parse
from tests.support.documents import ROOT, blocks
from tests.support.service import SECRET_KEY

pytestmark = pytest.mark.slow("cfn-lint takes two seconds to load")

GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
STACKS = {
    "photos-storage": "storage.yaml",
    "photos-data": "data.yaml",
    "photos-service": "service.yaml",
    "photos-alarms": "alarms.yaml",
}


def commands() -> list[tuple[str, str, set[str]]]:
    """Stack, template and parameters of each `aws cloudformation deploy`."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        if match := re.search(r"deploy --stack-name (\S+) --template-file deploy/aws/(\S+) (.*)", line):
            given = match[3].partition("--parameter-overrides")[2]
            found.append((match[1], match[2], set(re.findall(r"(?<!\S)([A-Z]\w+)=", given))))
    return found


class TestCommands:
    def test_name_parameters_that_there_are(self) -> None:
        assert len(commands()) == 8
        for stack, template, given in commands():
            assert given <= decoded(template)["Parameters"].keys(), template
            assert STACKS.get(stack, template) == template

    def test_that_make_a_stack_name_all_that_has_no_default(self) -> None:
        made: set[str] = set()
        for _, template, given in commands():
            parameters = decoded(template)["Parameters"].items()
            needed = {name for name, parameter in parameters if "Default" not in parameter}
            assert template in made or needed <= given, template
            made.add(template)
        assert made == {*STACKS.values(), "web-identity.yaml", "saml.yaml"}

    def test_allow_roles_to_be_made_where_some_are(self) -> None:
        for line in GUIDE.replace("\\\n", " ").splitlines():
            if match := re.search(r"--template-file deploy/aws/(\S+)", line):
                kinds = {part["Type"] for part in decoded(match[1])["Resources"].values()}
                assert any(kind.startswith("AWS::IAM") for kind in kinds) == ("CAPABILITY_IAM" in line), line

    def test_ask_for_outputs_that_there_are(self) -> None:
        asked = re.findall(r"\bstack (photos-\w+) (\w+)", GUIDE + RUNBOOK)
        asked += [("photos-service", name) for name in re.findall(r"\btask ([A-Z]\w+)", GUIDE + RUNBOOK)]
        assert len(set(asked)) > 6
        for stack, output in asked:
            assert output in decoded(STACKS[stack])["Outputs"], (stack, output)

    def test_and_choices_are_parameters(self) -> None:
        (choices,) = re.findall(r"### What can be chosen\n(.*?)```sh", GUIDE, re.DOTALL)
        known = {name for template in STACKS.values() for name in decoded(template)["Parameters"]}
        known |= {"VendedRoleArn", "MaxSessionDuration"}
        assert set(re.findall(r"`([A-Z][a-z]\w+)(?:=[^`]*)?`", choices)) <= known


class TestByHand:
    def test_settings_are_taken_and_commands_are_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """docs/operate/aws.md, where `tokenvend` notes how it is called and with which settings."""
        page = ROOT / "docs" / "operate" / "aws.md"
        (code,) = [block.code for block in blocks(page) if "tokenvend serve" in block.code]
        command = tmp_path / "tokenvend"
        command.write_text('#!/bin/sh\necho "tokenvend $*"; env -0 >settings\n')
        command.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        keys = set()
        for _ in range(2):
            done = subprocess.run(
                ["bash", "-euc", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            keys.add(re.findall("TOKENVEND_SECRET_KEY=([^\0]*)", (tmp_path / "settings").read_text())[0])
        assert keys == {(tmp_path / "secret_key").read_text()}, "pasted twice, it keeps its key"
        assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
        called = done.stdout.splitlines()
        assert len(called) == 4
        for line in called:
            parse(line)
        for variable in (tmp_path / "settings").read_text().split("\0"):
            name, _, value = variable.partition("=")
            if name.startswith((PREFIX, "AWS_")):
                monkeypatch.setenv(name, value)
        assert load_settings().environment == "production"


class TestRotation:
    def test_makes_a_key_once_that_the_service_takes(self, tmp_path: Path) -> None:
        """docs/operate/rotate-secrets.md: pasted twice, it keeps the key; only its owner reads it."""
        (block,) = blocks(ROOT / "docs" / "operate" / "rotate-secrets.md")
        made = set()
        for _ in range(2):
            subprocess.run(["bash", "-euc", block.code], cwd=tmp_path, check=True)
            made.add((tmp_path / "secret_key.new").read_text())
        (key,) = made
        settings = Settings(_env_file=None, secret_key=key, secret_key_previous=SECRET_KEY)
        assert not settings.secret_key_is_untidy
        assert (tmp_path / "secret_key.new").stat().st_mode & 0o777 == 0o600

    def test_makes_keys_for_kubernetes_once(self, tmp_path: Path) -> None:
        """deploy/README.md: no key and no URL with a password is on a command line, and no key is made anew."""
        (code,) = [block.code for block in blocks(ROOT / "deploy" / "README.md") if "create namespace" in block.code]
        (tmp_path / "kubectl").write_text(KUBECTL_STANDS_IN)
        (tmp_path / "kubectl").chmod(0o755)
        names = ("SERVING_URL", "SMTP_URL", "CACHE_REDIS_URL", "LIMITS_REDIS_URL", "EXTERNAL_ID", "OWNING_URL")
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **{name: f"of-{name}" for name in names}}
        made = set()
        for _ in range(2):
            called = subprocess.run(
                ["bash", "-euc", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
            ).stdout
            made.add((tmp_path / "secret_key").read_text())
        (key,) = made
        assert len(key) == 64
        assert "--from-file=TOKENVEND_SECRET_KEY=secret_key" in called
        assert not [secret for secret in (key, "of-") if secret in called]
        assert (tmp_path / "kept").read_text().splitlines()[-8:] == [
            f"TOKENVEND_SECRET_KEY={key}",
            f"TOKENVEND_METRICS_TOKEN={(tmp_path / 'metrics_token').read_text()}",
            "TOKENVEND_DATABASE_URL=of-SERVING_URL",
            "TOKENVEND_SMTP_URL=of-SMTP_URL",
            "TOKENVEND_CACHE_URL=of-CACHE_REDIS_URL",
            "TOKENVEND_RATE_LIMIT_URL=of-LIMITS_REDIS_URL",
            "TOKENVEND_EXTERNAL_ID=of-EXTERNAL_ID",
            "TOKENVEND_DATABASE_URL=of-OWNING_URL",
        ]


KUBECTL_STANDS_IN = """#!/bin/bash
echo "$*"
for given; do
  [[ $given =~ ^--from-file=([A-Z_]+)=(.+)$ ]] && echo "${BASH_REMATCH[1]}=$(cat "${BASH_REMATCH[2]}")" >> kept
done
exit 0
"""
AWS_STANDS_IN = """#!/bin/bash
call=$*
echo "$call" >> "$NOTES"
case $call in
  *describe-stacks*) echo "of-${call##*==?}" | cut -d "'" -f 1 ;;
  *run-task*) echo "arn:aws:ecs:eu-central-1:123456789012:task/cluster/0123" ;;
  *get-log-events*) echo "a line of the log" ;;
  *exitCode*) echo "$EXIT" ;;
  *stoppedReason*) echo "no such image" ;;
esac
[[ $call != *"$FAILS"* ]]
"""


class TestFunctions:
    @pytest.fixture
    def shell(self, tmp_path: Path) -> Callable[..., tuple[int, str, list[str]]]:
        (tmp_path / "aws").write_text(AWS_STANDS_IN)
        (tmp_path / "aws").chmod(0o755)
        (functions,) = re.findall(r"```sh\n(stack\(\) .*?)```", RUNBOOK, re.DOTALL)

        def run(command: str, *, ends_with: str = "0", fails: str = "nothing") -> tuple[int, str, list[str]]:
            notes = tmp_path / "notes"
            environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NOTES": str(notes), "EXIT": ends_with}
            done = subprocess.run(
                ["bash", "-c", functions + command],
                env=environment | {"FAILS": fails, "PRIVATE_SUBNETS": "subnet-1,subnet-2"},
                capture_output=True,
                text=True,
                check=False,
            )
            return done.returncode, done.stdout, notes.read_text().splitlines()

        return run

    @pytest.mark.parametrize("policy", ["deny-all", "deny-leaked"])
    def test_a_denial_is_a_policy_of_the_role(
        self, policy: str, shell: Callable[..., tuple[int, str, list[str]]]
    ) -> None:
        (code,) = [block.code for block in blocks(DEPLOY / "RUNBOOK.md") if policy in block.code]
        status, _, calls = shell(code)
        assert status == 0
        text = "\n".join(calls)
        assert f"iam put-role-policy --role-name of-VendedRoleArn --policy-name {policy} --policy-document" in text
        (statement,) = json.loads(text.partition("--policy-document ")[2])["Statement"]
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "*", "*")

    def test_a_task_is_waited_for_and_shown(self, shell: Callable[..., tuple[int, str, list[str]]]) -> None:
        status, output, calls = shell("task MigrationTask")
        assert (status, output) == (0, "a line of the log\n")
        (start,) = [call for call in calls if "run-task" in call]
        network = "subnets=[subnet-1,subnet-2],securityGroups=[of-ClientGroup,of-ServiceGroup]"
        assert "--task-definition of-MigrationTask --launch-type FARGATE --network-configuration awsvpc" in start
        assert network in start
        assert any(call.startswith("ecs wait tasks-stopped --cluster of-Cluster --tasks arn:") for call in calls)
        assert any("--log-stream-name migrate/migrate/0123" in call for call in calls)

    @pytest.mark.parametrize(
        ("ends_with", "fails", "expected"),
        [("3", "nothing", 3), ("None", "nothing", 1), ("0", "run-task", 1), ("0", "tasks-stopped", 1)],
    )
    def test_a_task_that_fails_fails(
        self, shell: Callable[..., tuple[int, str, list[str]]], ends_with: str, fails: str, expected: int
    ) -> None:
        status, output, _ = shell("task MigrationTask", ends_with=ends_with, fails=fails)
        assert status == expected
        assert ends_with != "None" or output.endswith("no such image\n")
