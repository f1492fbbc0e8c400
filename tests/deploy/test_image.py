"""What the image is made of, and what runs it: hashes alone, nobody's user, nothing written, signals that arrive."""

import json
import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from app.platform.settings import PREFIX, Settings
from deploy import sbom
from tests.deploy.reading import DEPLOY, ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
LOCKS = [
    ROOT / "requirements.lock",
    ROOT / "requirements-dev.lock",
    DEPLOY / "build.lock",
    DEPLOY / "store.lock",
    DEPLOY / "checks" / "requirements.lock",
    ROOT / "docs" / "requirements.lock",
    *sorted((ROOT / "tests" / "clients" / "python").glob("*.lock")),
]
NOT_PASSED = {PREFIX + "MFA_SERIAL": "its code is typed at each start, and a container has nobody who types"}
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}


class TestLocks:
    @pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
    def test_pin_and_hash_every_package_and_name_no_registry(self, lock: Any) -> None:
        """OP6."""
        text = lock.read_text(encoding="utf-8")
        entries = re.split(r"^(?=[a-zA-Z])", text, flags=re.MULTILINE)[1:]
        assert entries
        for entry in entries:
            assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry), entry[:80]
            assert "--hash=sha256:" in entry, entry[:80]
        assert "://" not in text
        assert "index-url" not in text

    def test_every_install_asks_for_hashes(self) -> None:
        """OP6: in the image and in the Makefile; what is installed without is this project itself."""
        text = DOCKERFILE.replace("\\\n", " ") + (ROOT / "Makefile").read_text(encoding="utf-8")
        for line in re.findall(r"pip install.*", text):
            for command in line.split("&&"):
                if "pip install" in command:
                    own = "/wheels/" in command or "--editable ." in command or "uv==" in command
                    assert own or "--require-hashes" in command, command

    def test_the_image_has_every_extra_that_serving_may_take(self) -> None:
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        for name in ("redis", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"):
            assert re.search(rf"^{name}==", lock, re.MULTILINE)


class TestBillOfMaterials:
    def test_has_each_package_of_the_lock_with_its_hashes(self) -> None:
        """OP6."""
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        printed = subprocess.run(
            [sys.executable, DEPLOY / "sbom.py"], capture_output=True, text=True, check=True
        ).stdout
        bill = json.loads(printed)
        packages = [part for part in bill["components"] if part["purl"].startswith("pkg:pypi/")]
        named = {(part["name"], part["version"]) for part in packages}
        assert named == set(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
        assert sum(len(part["hashes"]) for part in packages) == lock.count("--hash=sha256:")
        assert ("fastapi", next(version for name, version in named if name == "fastapi")) in named

    def test_has_the_copies_of_others_files(self) -> None:
        bill = sbom.document("", "1")
        assert [part["purl"].partition("@")[0] for part in bill["components"]] == [
            *("pkg:npm/aws4fetch", "pkg:npm/uplot", "pkg:npm/uqr")
        ]
        assert all(part["licenses"] for part in bill["components"])

    def test_reads_markers_and_many_hashes(self) -> None:
        first = (
            f"a-b==1.2 ; sys_platform == 'win32' \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"
        )
        lock = f"# by uv\n{first}    # via c\nd==2 \\\n    --hash=sha256:{'2' * 64}\n"
        two, one = sbom.components(lock)
        assert (two["purl"], len(two["hashes"])) == ("pkg:pypi/a-b@1.2", 2)
        assert (one["purl"], len(one["hashes"])) == ("pkg:pypi/d@2", 1)


class TestDockerfile:
    def test_runs_as_nobody_in_the_exec_form(self) -> None:
        _, _, service = DOCKERFILE.partition("FROM base AS service")
        assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
        assert 'ENTRYPOINT ["tokenvend"]' in service
        assert 'CMD ["serve", "--host", "0.0.0.0"]' in service
        assert not re.search(r"^(ENTRYPOINT|CMD) [^\[]", DOCKERFILE, re.MULTILINE)
        assert "USER" not in service

    def test_copies_what_the_context_lets_in(self) -> None:
        allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
            for source in sources.split():
                assert (ROOT / source).exists(), source
                assert any(re.fullmatch(entry.replace(".", r"\.").replace("*", "[^/]*"), source) for entry in allowed)


class TestCompose:
    def test_services_are_confined(self) -> None:
        for name, service in COMPOSE["services"].items():
            if name in (
                "postgres",
                "redis-limits",
                "redis-cache",
            ):  # images of others, that start as root to own their volumes
                continue
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name

    def test_only_the_proxy_is_reached_from_outside(self) -> None:
        published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
        assert published.keys() == {"proxy"}
        assert COMPOSE["services"]["store"]["network_mode"] == "service:proxy"
        assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in published["proxy"])
        assert COMPOSE["networks"]["inner"] == {"internal": True}

    def test_the_proxy_is_checked_and_waits_for_nobody(self) -> None:
        """The engine needs its network, and the service needs the engine: whatever it waited for would be a ring."""
        proxy = COMPOSE["services"]["proxy"]
        assert proxy["healthcheck"]["test"][-1] == "http://127.0.0.1:8000/healthz"
        assert "depends_on" not in proxy
        configuration = (DEPLOY / "proxy.conf").read_text()
        assert re.findall(r"server service-[ab]:8000 (\w+)", configuration) == ["resolve", "resolve"]

    def test_two_replicas_wait_for_one_migration(self) -> None:
        services = COMPOSE["services"]
        assert services["service-a"] == services["service-b"]
        assert services["service-a"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert services["migrate"]["command"] == ["migrate"]

    def test_passes_every_setting_on(self) -> None:
        """What `.env` has and compose does not name, no container ever sees."""
        environment = COMPOSE["services"]["service-a"]["environment"]
        names = {name for name in environment if name.startswith(PREFIX)}
        assert names == KNOWN - NOT_PASSED.keys() - {PREFIX + "REGION"}
        assert "AWS_REGION" in environment
        for name in names | {"AWS_REGION"}:
            assert re.fullmatch(r"\$\{" + name + r":?-[^}]*\}", environment[name]), name

    def test_hides_no_setting_that_production_asks_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in COMPOSE["services"]["service-a"]["environment"].items():
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", str(value)))
        with pytest.raises(ValidationError) as refused:
            Settings(_env_file=None, environment="production")
        for name in ("SECRET_KEY", "PUBLIC_URL", "SMTP_URL", "MAIL_FROM"):
            assert f"{PREFIX}{name}: must be set" in str(refused.value)

    def test_what_it_sets_by_default_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in COMPOSE["services"]["service-a"]["environment"].items():
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", str(value)))
        settings = Settings(_env_file=None)
        assert settings.s3_endpoint_url == settings.sts_endpoint_url == "http://proxy:8333"
        assert settings.rate_limit_url != settings.cache_url
        settings.require_engine()


class TestKubernetes:
    def test_names_of_its_own_variables_are_kept_out(self) -> None:
        """Kubernetes would set TOKENVEND_PORT for a Service called tokenvend, which the service refuses as misspelt."""
        for file in ("deployment.yaml", "migration.yaml"):
            resource = yaml.safe_load((DEPLOY / "kubernetes" / "base" / file).read_text())
            assert resource["spec"]["template"]["spec"]["enableServiceLinks"] is False

    @pytest.mark.parametrize("overlay", ["irsa", "pod-identity"])
    def test_overlays_are_whole_and_their_settings_are_taken(
        self, overlay: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resources = built(overlay)
        assert sorted(resources) == [
            *(("ConfigMap", "tokenvend"), ("Deployment", "tokenvend"), ("HorizontalPodAutoscaler", "tokenvend")),
            *(("Job", "tokenvend-migrate"), ("NetworkPolicy", "tokenvend")),
            *(("NetworkPolicy", "tokenvend-load-balancer"), ("PodDisruptionBudget", "tokenvend")),
            *(("Service", "tokenvend"), ("ServiceAccount", "tokenvend"), ("ServiceAccount", "tokenvend-migrate")),
        ]
        assert {resource["metadata"]["namespace"] for resource in resources.values()} == {"tokenvend"}
        for name, value in resources["ConfigMap", "tokenvend"]["data"].items():
            monkeypatch.setenv(name, value)
        secret = {"secret_key": "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s", "smtp_url": "smtp://127.0.0.1:9"}
        settings = Settings(_env_file=None, database_url="postgresql+psycopg://u@h/d", **secret)
        assert settings.environment == "production"
        deployment = resources["Deployment", "tokenvend"]
        pod = deployment["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > 25 + settings.drains_for
        assert pod["serviceAccountName"] == "tokenvend"
        (container,) = pod["containers"]
        assert "@sha256:" in container["image"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        selector = resources["PodDisruptionBudget", "tokenvend"]["spec"]["selector"]["matchLabels"].items()
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()

    @pytest.mark.parametrize("overlay", ["irsa", "pod-identity"])
    def test_the_migration_comes_first_with_all_that_it_reads(
        self, overlay: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With sign-in by IAM too: its own account, and no setting that serving alone takes."""
        resources = built(overlay)
        pod = resources["Job", "tokenvend-migrate"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        data = resources["ConfigMap", "tokenvend"]["data"] | {PREFIX + "DATABASE_IAM_AUTH": "true"}
        for variable in container["env"]:
            source = variable["valueFrom"]["configMapKeyRef"]
            assert (source["name"], source["key"]) == ("tokenvend", variable["name"])
            monkeypatch.setenv(variable["name"], data[source["key"]])
        guide = (DEPLOY / "README.md").read_text()
        (made,) = re.findall(r"create secret generic tokenvend-migration \\\n(.*?)\n(?=kubectl)", guide, re.DOTALL)
        (key,) = re.findall(r"--from-literal=TOKENVEND_SECRET_KEY=(\S+)", made)
        url = "postgresql+psycopg://tokenvend_owner@h/d?sslmode=verify-full&sslrootcert=/opt/tokenvend/rds.pem"
        settings = Settings(_env_file=None, database_url=url, secret_key=SecretStr(key))
        assert settings.database_iam_auth
        assert settings.region == data["AWS_REGION"]
        first = {key for key, one in resources.items() if one["metadata"].get("labels", {}).get("tokenvend.io/first")}
        assert first == {
            ("Job", "tokenvend-migrate"),
            ("ConfigMap", "tokenvend"),
            ("ServiceAccount", pod["serviceAccountName"]),
            ("ServiceAccount", "tokenvend"),
        }
        assert guide.index("-l tokenvend.io/first=true") < guide.index("wait --timeout=10m --for=condition=complete")

    def test_the_network_lets_out_what_the_service_calls_and_not_to_the_instances_metadata(self) -> None:
        policy = built("irsa")["NetworkPolicy", "tokenvend"]["spec"]
        assert may_call(policy, "203.0.113.9", {443, 465, 587, 4318, 5432, 6379})
        assert may_call(policy, "2001:db8::9", {443, 465, 587, 4318, 5432, 6379})
        assert may_call(policy, "169.254.20.10", {53})
        assert may_call(policy, "169.254.170.23", {80})
        assert may_call(policy, "fd00:ec2::23", {80})
        for metadata in ("169.254.169.254", "fd00:ec2::254"):
            assert may_call(policy, metadata, set())


def built(overlay: str) -> dict[tuple[str, str], Any]:
    """Its resources, by kind and name."""
    text = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes" / overlay], capture_output=True, text=True, check=True
    ).stdout
    return {(resource["kind"], resource["metadata"]["name"]): resource for resource in yaml.safe_load_all(text)}


def may_call(policy: Any, address: str, ports: set[int]) -> bool:
    """Whether exactly these ports of an address outside may be called."""
    allowed = set()
    for rule in policy["egress"]:
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            inside = [ip_address(address) in ip_network(block["cidr"])]
            inside += [ip_address(address) not in ip_network(but) for but in block.get("except", [])]
            if all(inside):
                allowed |= {port["port"] for port in rule["ports"]}
    return allowed == ports
