"""The stack of the service: its settings, its network, what an instance does at its start, and what it tells."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.http.server import make_config
from app.platform.problems import Problem
from app.platform.settings import PREFIX, Settings
from tests.deploy.reading import ROOT
from tests.deploy.templates import ARNS, AWS, EXTERNAL_ID, REGION, decoded, references, resolved, resources

pytestmark = pytest.mark.slow("cfn-lint takes two seconds to load")

NOT_IN_THE_STACK = {
    "ALLOWED_HOSTS": "the certificate and the balancer know one name, and that is PUBLIC_URL's",
    "COGNITO_ENDPOINT_URL": "is AWS's own",
    "DEVELOPMENT_REMOTE": "is of development, and the stack is production",
    "DOCS": "off in production; the document is deploy/sdk/openapi.json",
    "DRAIN_SECONDS": "5 in production; the target group's delay is set for it",
    "IAM_ENDPOINT_URL": "is AWS's own",
    "IMPORT_MAX_BYTES": "a gigabyte is some millions of users, more than that are several files",
    "KEEP_ALIVE": "longer than the balancer of the stack keeps a connection",
    "KMS_BUCKET_KEYS": "storage.yaml makes the bucket without: with them the key isolates no user",
    "LOG_LEVEL": "scaling and alarms count lines of `info`",
    "MFA_SERIAL": "the base identity is a role, and has no such device",
    "POLICY_ARNS": "the vended role of the stacks reaches S3 alone",
    "QUOTA_COUNT_SECONDS": "with StorageEvents usage is known at once; without, a quarter of an hour is often",
    "RATE_LIMITS": "production refuses `off`",
    "REVOCATION_DELAY": "the default is what IAM takes",
    "REVOCATION_POLICY_SIZE": "the role of the stacks has no other inline policy, so the default is what fits",
    "ROLE_POLICY": "the default is that of the stacks",
    "S3_ENDPOINT_URL": "is AWS's own",
    "S3_FORCE_PATH_STYLE": "AWS has a host name for each bucket",
    "S3_PUBLIC_ENDPOINT_URL": "is AWS's own",
    "SOURCE_IDENTITY": "the trust policies of the stacks allow it",
    "STS_CLIENT": "options of the SDK are none of the stack's",
    "STS_ENDPOINT_URL": "is AWS's own; a VPC endpoint's private DNS is found by the same name",
    "TRANSITIVE_TAG_KEYS": "nobody chains on from the vended role",
    "UPLOAD_TICKETS": "on with AWS's own S3",
}
PARAMETERS = {
    "VpcCidr": "10.0.0.0/16",
    "HostName": "tokens.example.org",
    "Image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tokenvend@sha256:" + "0" * 64,
    "VendedRoleArn": "arn:aws:iam::123456789012:role/vended",
    "ExternalId": EXTERNAL_ID,
    "KmsKeyArn": ARNS["KmsKeyArn"],
    "MailFrom": "Photos of $HOME and `date` <photos@example.org>",
    "OidcProviders": '{"google": {"issuer": "https://accounts.google.com", "client_ids": ["a\\"b", "$HOME"]}}',
    "RevocationPolicyArns": "arn:aws:iam::123456789012:policy/denials-1,arn:aws:iam::123456789012:policy/denials-2",
    "SessionTags": "user_id,access",
    "StsRegions": "eu-central-1,eu-west-1",
    "StorageEventsTopicArn": "arn:aws:sns:eu-central-1:123456789012:events",
    "SmtpSecretArn": ARNS["SmtpSecretArn"],
    "SecretKeyPreviousArn": ARNS["SecretKeyPreviousArn"],
    "CognitoSecretArn": ARNS["CognitoSecretArn"],
    "MigrationSecretArn": ARNS["MigrationSecretArn"],
    "WebhookSecretArn": ARNS["WebhookSecretArn"],
    "FirebaseSecretArn": ARNS["FirebaseSecretArn"],
    "CognitoClientId": "client",
    "Logs": "logs",
}


def given() -> dict[str, str]:
    """Every parameter's value: the default, where `PARAMETERS` has no other."""
    parameters = decoded("service.yaml")["Parameters"].items()
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in parameters}
    return defaults | PARAMETERS


def environment_of_a_task() -> dict[str, str]:
    (container,) = resources("service.yaml")["Task"]["Properties"]["ContainerDefinitions"]
    return {one["Name"]: one["Value"] for one in resolved(container["Environment"], given())}


def secrets_of_a_task() -> set[str]:
    (container,) = resources("service.yaml")["Task"]["Properties"]["ContainerDefinitions"]
    return {one["Name"] for one in resolved(container["Secrets"], given())}


class TestSettings:
    def test_every_one_is_set_or_there_is_a_reason_why_not(self) -> None:
        known = {PREFIX + name.upper() for name in Settings.model_fields} - {f"{PREFIX}REGION"} | {"AWS_REGION"}
        used = environment_of_a_task().keys() | secrets_of_a_task()
        left_out = {PREFIX + name for name in NOT_IN_THE_STACK}
        assert used <= known
        assert known - used == left_out
        assert all(NOT_IN_THE_STACK.values())

    def test_each_parameter_of_one_reaches_it(self) -> None:
        found = decoded("service.yaml")
        text = json.dumps(found["Resources"])
        unused = [name for name in found["Parameters"] if not re.search(rf'"Ref": "{name}"|\$\{{{name}\}}', text)]
        assert [name for name in unused if name != "Compute"] == []

    def test_they_are_ones_that_the_service_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environment_of_a_task().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TOKENVEND_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")
        monkeypatch.setenv("TOKENVEND_SMTP_URL", "smtp://user:password@mail.example.org:587")
        settings = Settings(_env_file=None)
        assert settings.environment == "production"
        assert settings.kms_key_arn == ARNS["KmsKeyArn"]
        assert settings.oidc_providers["google"].client_ids == ('a"b', "$HOME")
        assert (settings.app_link_base, settings.email_verification, settings.cors_origins) == (None, None, ())
        assert settings.session_tags == ("user_id", "access")
        assert len(settings.revocation_policy_arns) == 2

    def test_the_vended_role_lasts_as_long_as_a_credential_may(self) -> None:
        longest = decoded("service.yaml")["Parameters"]["CredentialMaxTtl"]
        for template in ("web-identity.yaml", "saml.yaml"):
            assert longest["MaxValue"] <= decoded(template)["Parameters"]["MaxSessionDuration"]["Default"]
        assert longest["Default"] == 3600  # of the role that storage.yaml makes, and of all role chaining


AWS_STANDS_IN = """#!/bin/bash
case "$*" in
  *get-login-password*) echo password ;;
  *get-secret-value*) [ "$LACKING" = secret ] && exit 254; echo "secret with \\$HOME" ;;
esac
"""
NOTES = '#!/bin/bash\necho "${0##*/} $*" >> "$NOTES"\n'


class TestInstances:
    """The user data run for real, with stand-ins for what it calls."""

    @pytest.fixture
    def boot(self, tmp_path: Path) -> Callable[..., tuple[int, list[str], Path]]:
        programs = tmp_path / "bin"
        programs.mkdir()
        environment = tmp_path / "tokenvend.env"
        notes = tmp_path / "notes"
        for name in ("dnf", "systemctl", "sleep", "cfn-signal"):
            (programs / name).write_text(NOTES)
        (programs / "docker").write_text(NOTES + '[ "$1" != login ] || cat > /dev/null; [ "$LACKING" != "$1" ]\n')
        (programs / "curl").write_text('#!/bin/bash\n[ "$LACKING" != health ]\n')
        (programs / "aws").write_text(AWS_STANDS_IN)
        for program in programs.iterdir():
            program.chmod(0o755)
        data = resources("service.yaml")["Template"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
        script = resolved(data, given())
        script = script.replace("/etc/tokenvend.env", str(environment)).replace("/opt/aws/bin/", "")

        def run(lacking: str = "") -> tuple[int, list[str], Path]:
            done = subprocess.run(
                ["bash", "-c", script],
                env={"PATH": f"{programs}:/usr/bin:/bin", "LACKING": lacking, "NOTES": str(notes)},
                check=False,
                capture_output=True,
                timeout=60,
            )
            return done.returncode, notes.read_text().splitlines(), environment

        return run

    def test_has_the_settings_of_a_task_to_the_letter(self, boot: Callable[..., tuple[int, list[str], Path]]) -> None:
        status, notes, environment = boot()
        assert status == 0
        found = dict(line.split("=", 1) for line in environment.read_text().splitlines())
        secret = {name: found.pop(name) for name in secrets_of_a_task()}
        assert set(secret.values()) == {"secret with $HOME"}
        assert found == environment_of_a_task()
        assert environment.stat().st_mode & 0o777 == 0o600
        assert [note for note in notes if note.startswith("docker run")]
        assert notes[-1] == f"cfn-signal --exit-code 0 --stack service --resource Instances --region {REGION}"

    @pytest.mark.parametrize("lacking", ["login", "pull", "secret", "run", "health"])
    def test_says_so_where_it_does_not_serve(
        self, boot: Callable[..., tuple[int, list[str], Path]], lacking: str
    ) -> None:
        status, notes, _ = boot(lacking)
        assert status != 0
        assert notes[-1].startswith(f"cfn-signal --exit-code {status} ")
        assert lacking in ("run", "health") or not [note for note in notes if note.startswith("docker run")]

    def test_a_version_that_does_not_serve_is_taken_back(self) -> None:
        found = resources("service.yaml")["Instances"]
        rolling = found["UpdatePolicy"]["AutoScalingRollingUpdate"]
        assert rolling["WaitOnResourceSignals"] is True
        assert rolling["MinInstancesInService"] == {"Fn::If": ["HasFixedSize", 1, {"Ref": "Least"}]}
        assert found["CreationPolicy"]["ResourceSignal"]["Count"] == {"Ref": "Least"}
        template = decoded("service.yaml")
        assert template["Conditions"]["HasFixedSize"] == {"Fn::Equals": [{"Ref": "Least"}, {"Ref": "Most"}]}
        assert template["Parameters"]["Most"]["MinValue"] > 1


def groups(template: str) -> dict[str, dict[str, Any]]:
    found = resources(template).items()
    return {name: part["Properties"] for name, part in found if part["Type"] == "AWS::EC2::SecurityGroup"}


class TestNetwork:
    @pytest.mark.parametrize("template", ["data.yaml", "service.yaml"])
    def test_each_group_says_where_it_lets_out(self, template: str) -> None:
        """One that says nothing lets out to everywhere."""
        assert groups(template)
        for name, group in groups(template).items():
            for rule in group["SecurityGroupEgress"]:
                if rule["IpProtocol"] == "-1":
                    assert rule["CidrIp"] == "127.0.0.1/32", name
                else:
                    assert rule["FromPort"] == rule["ToPort"], name
                    assert rule["FromPort"] in (443, 8000, {"Ref": "SmtpPort"}), name

    def test_the_database_and_the_cache_know_the_service_by_its_group(self) -> None:
        found = groups("data.yaml")
        for name, port in (("DatabaseGroup", 5432), ("CacheGroup", 6379)):
            (rule,) = found[name]["SecurityGroupIngress"]
            assert (rule["FromPort"], rule["ToPort"]) == (port, port)
            assert rule["SourceSecurityGroupId"] == {"Ref": "ClientGroup"}
            assert "CidrIp" not in rule

    def test_the_service_hears_the_balancer_alone(self) -> None:
        found = resources("service.yaml")
        assert "SecurityGroupIngress" not in found["ServiceGroup"]["Properties"]
        rules = [part for part in found.values() if part["Type"] == "AWS::EC2::SecurityGroupIngress"]
        (rule,) = rules
        assert rule["Properties"]["GroupId"] == {"Ref": "ServiceGroup"}
        assert rule["Properties"]["SourceSecurityGroupId"] == {"Ref": "BalancerGroup"}


EVENTS_OF_OTHERS = {"isolation_broken"}
"""Lines that the service may come to write."""


def metric_filters(template: str) -> dict[str, Any]:
    found = resources(template).items()
    return {name: part for name, part in found if part["Type"] == "AWS::Logs::MetricFilter"}


class TestAlarms:
    def test_stand_in_a_template_of_their_own_beside_what_scaling_counts(self) -> None:
        """The service's template has to be short enough for CloudFormation, and each new setting makes it longer."""
        found = {part["Type"] for part in resources("service.yaml").values()}
        assert not found & {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"}
        assert metric_filters("service.yaml").keys() == {"Vends"}
        assert len((AWS / "service.yaml").read_bytes()) < 45_000

    def test_are_told_what_the_services_stack_puts_out(self) -> None:
        parameters = decoded("alarms.yaml")["Parameters"]
        needed = {name for name, parameter in parameters.items() if "Default" not in parameter}
        assert needed - {"ServiceStack"} <= decoded("service.yaml")["Outputs"].keys()
        used = references(resources("alarms.yaml")) | set(
            re.findall(r"\$\{(\w+)\}", json.dumps(resources("alarms.yaml")))
        )
        assert parameters.keys() <= used

    def test_count_in_the_namespace_of_the_services_stack(self) -> None:
        (vends,) = metric_filters("service.yaml")["Vends"]["Properties"]["MetricTransformations"]
        assert vends["MetricNamespace"] == {"Fn::Sub": "tokenvend/${AWS::StackName}"}
        for part in metric_filters("alarms.yaml").values():
            (metric,) = part["Properties"]["MetricTransformations"]
            assert metric["MetricNamespace"] == {"Fn::Sub": "tokenvend/${ServiceStack}"}

    def test_count_lines_that_the_service_writes(self) -> None:
        source = "\n".join(file.read_text() for file in (ROOT / "app").rglob("*.py"))
        events = set(re.findall(r'log\.\w+\(\s*"(\w+)"', source)) | EVENTS_OF_OTHERS
        found = resources("alarms.yaml")
        filters = metric_filters("alarms.yaml")
        for part in (*filters.values(), *metric_filters("service.yaml").values()):
            pattern = part["Properties"]["FilterPattern"]
            assert set(re.findall(r'\$\.event = "(\w+)"', pattern)) <= events, pattern
            assert set(re.findall(r'\$\.code = "(\w+)"', pattern)) <= Problem.catalogue.keys(), pattern
        alarmed = {part["Properties"].get("MetricName") for part in found.values() if "Alarm" in part["Type"]}
        assert filters.keys() <= alarmed
        for name in ("JobFailed", "RevocationDelayed", "KeysUnavailable", "IsolationBroken", "UsageNotCounted"):
            assert name in filters
            (metric,) = filters[name]["Properties"]["MetricTransformations"]
            assert found[f"{name}Alarm"]["Properties"]["Namespace"] == metric["MetricNamespace"]
            assert found[f"{name}Alarm"]["Properties"]["MetricName"] == metric["MetricName"] == name

    def test_of_the_cache_look_at_each_node(self) -> None:
        found = resources("data.yaml")
        nodes = [
            dimension["Value"]["Fn::Sub"]
            for metric in found["CacheFull"]["Properties"]["Metrics"]
            for dimension in metric.get("MetricStat", {}).get("Metric", {}).get("Dimensions", ())
            if dimension["Name"] == "CacheClusterId"
        ]
        count = found["Cache"]["Properties"]["NumCacheClusters"]
        assert nodes == [f"${{Cache}}-{node:03}" for node in range(1, count + 1)]


class TestMigration:
    def test_is_the_next_versions_and_the_preparation_a_task_of_its_own(self) -> None:
        found = resources("service.yaml")
        prepare, migrate = found["PreparationTask"]["Properties"], found["MigrationTask"]["Properties"]
        (container,) = migrate["ContainerDefinitions"]
        assert container["Image"] == {"Fn::If": ["HasMigrationImage", {"Ref": "MigrationImage"}, {"Ref": "Image"}]}
        assert container["Command"] == ["tokenvend", "migrate"]
        assert migrate["TaskRoleArn"] == {"Fn::GetAtt": ["MigrationRole", "Arn"]}
        # The administrator's password goes to the one task alone, which has no role.
        assert "TaskRoleArn" not in prepare
        administrator = "-DatabaseAdministrator"
        holders = {name for name, part in found.items() if administrator in json.dumps(part)}
        assert holders == {"PreparationTask", "PreparationExecutionRole"}
        assert prepare["ExecutionRoleArn"] == {"Fn::GetAtt": ["PreparationExecutionRole", "Arn"]}


class TestService:
    def test_instances_answer_for_metadata_version_two_and_to_themselves_alone(self) -> None:
        data = resources("service.yaml")["Template"]["Properties"]["LaunchTemplateData"]
        assert data["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        }
        assert "KeyName" not in data
        assert "--network host" in json.dumps(data["UserData"])

    def test_tasks_are_nobodys_and_write_nothing(self) -> None:
        found = resources("service.yaml")
        for task in ("Task", "PreparationTask", "MigrationTask"):
            for container in found[task]["Properties"]["ContainerDefinitions"]:
                assert (container["User"], container["ReadonlyRootFilesystem"]) == ("10001:10001", True)
                secret = {entry["Name"] for entry in resolved(container["Secrets"], given())}
                plain = {entry["Name"] for entry in resolved(container["Environment"], given())}
                assert not {name for name in plain if re.search("SECRET|PASSWORD$|TOKEN$|SMTP|CACHE_URL", name)}
                assert not secret & plain

    def test_no_kept_connection_ends_before_the_balancers(self) -> None:
        attributes = resources("service.yaml")["Balancer"]["Properties"]["LoadBalancerAttributes"]
        idle = next(int(a["Value"]) for a in attributes if a["Key"] == "idle_timeout.timeout_seconds")
        assert idle < make_config("app.main:none", host="127.0.0.1", port=1).timeout_keep_alive

    def test_the_databases_address_is_one_that_takes_passwords_by_iam(self) -> None:
        urls = re.findall(r"postgresql\+psycopg://\S+?(?=[\"\s])", (AWS / "service.yaml").read_text())
        assert len(urls) == 3
        for url in urls:
            settings = Settings(
                _env_file=None, database_iam_auth=True, database_url=url.replace("${Host}", "db.example")
            )
            assert "sslmode=verify-full" in settings.database_url
