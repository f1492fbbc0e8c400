"""The stack of the CDN: nothing is read without a signature, by another way, or with another's; and its page."""

import json
import re
import subprocess
from typing import Any

import pytest

from tests.deploy.templates import breaks_a_rule, chosen, decoded, resources
from tests.journeys.test_downloads import NAMES
from tests.policy.cloudfront import leads_out
from tests.support.documents import ROOT, blocks
from tests.support.needs import need

pytestmark = pytest.mark.slow("cfn-lint takes two seconds to load")

TEMPLATE = "cdn.yaml"
PAGE = ROOT / "docs" / "operate" / "cdn.md"
PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
PATHS = [
    "/",
    "/users/a/photo.jpg",
    *(f"/users/a/{name}" for name in ("a+b%20c.jpg", "Bl%C3%BCte%20%F0%9F%8C%B8.jpg", "100%2541.jpg", "100%25.jpg")),
    *(f"/users/a/{name}" for name in ("what%3F%2A.jpg", "...", "..jpg", "a..", "a/.b/c", ".renditions/x.jpg", "%252F")),
    *(f"/users/a/{dots}b/photo.jpg" for dots in ("../", "./", "%2e%2e/", "%2E%2e/", ".%2e/", "..%2f", "%2e%2e%2f")),
    *(f"/users/a/{dots}b/photo.jpg" for dots in ("%252e%252e/", "..%252f", "%25252e%25252e%25252f", "..%5c", "..\\")),
    *(f"/users/a/{end}" for end in ("..", ".", "%2e%2e", "%00/x", "%0a", "%7f", "x%")),
    *("/users/a/%c0%ae%c0%ae/b", "/users/a/%ff", "/users/a/%", "/users/a/%zz", "/users/a/%2", "/..", "/.", "/%2e"),
    "/users/a/" + "%25" * 9 + "2e/",
]


def distribution() -> dict[str, Any]:
    config: dict[str, Any] = resources(TEMPLATE)["Distribution"]["Properties"]["DistributionConfig"]
    return config


class TestDistribution:
    def test_hands_out_nothing_without_a_signature_of_the_key_group(self) -> None:
        behaviour = distribution()["DefaultCacheBehavior"]
        assert behaviour["TrustedKeyGroups"] == [{"Ref": "KeyGroup"}]
        assert "CacheBehaviors" not in distribution()
        assert "TrustedSigners" not in behaviour
        assert behaviour["ViewerProtocolPolicy"] == "https-only"
        assert set(behaviour["AllowedMethods"]) == {"GET", "HEAD", "OPTIONS"}

    @pytest.mark.parametrize(
        ("given", "members"), [({"HasB": False}, ["KeyA"]), ({"HasA": False}, ["KeyB"]), ({}, ["KeyA", "KeyB"])]
    )
    def test_trusts_one_key_or_two_while_they_are_rotated(self, given: dict[str, bool], members: list[str]) -> None:
        group = resources(TEMPLATE)["KeyGroup"]["Properties"]["KeyGroupConfig"]
        assert chosen(group["Items"], given) == [{"Ref": name} for name in members]
        for name in ("A", "B"):
            key = resources(TEMPLATE)[f"Key{name}"]
            assert key["Condition"] == f"Has{name}"
            assert key["Properties"]["PublicKeyConfig"]["EncodedKey"] == {"Fn::Sub": f"${{PublicKey{name}}}\n"}

    def test_is_made_with_a_key_and_with_a_certificate_for_its_name(self) -> None:
        assert breaks_a_rule(TEMPLATE)
        assert not breaks_a_rule(TEMPLATE, PublicKeyA=PEM)
        assert not breaks_a_rule(TEMPLATE, PublicKeyB=PEM)
        assert breaks_a_rule(TEMPLATE, PublicKeyA=PEM, HostName="cdn.example.org")

    def test_takes_keys_in_the_form_that_the_command_prints(self) -> None:
        for name in ("PublicKeyA", "PublicKeyB"):
            pattern = decoded(TEMPLATE)["Parameters"][name]["AllowedPattern"]
            for key, taken in ((PEM, True), (PEM + "\n", True), ("", True), (PEM.replace("PUBLIC", "PRIVATE"), False)):
                assert bool(re.fullmatch(pattern, key)) is taken

    def test_reads_the_bucket_by_origin_access_control_and_is_alone_there(self) -> None:
        (origin,) = distribution()["Origins"]
        assert origin["OriginAccessControlId"] == {"Fn::GetAtt": ["AccessControl", "Id"]}
        control = resources(TEMPLATE)["AccessControl"]["Properties"]["OriginAccessControlConfig"]
        assert (control["SigningBehavior"], control["OriginAccessControlOriginType"]) == ("always", "s3")
        policy = resources("storage.yaml")["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        (opened,) = [statement for statement in chosen(policy, {}) if statement["Effect"] == "Allow"]
        assert opened == {
            "Sid": "TheDistributionAlone",
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": {"Fn::Sub": "${Bucket.Arn}/users/*"},
            "Condition": {"StringEquals": {"aws:SourceArn": {"Ref": "DistributionArn"}}},
        }
        assert [one["Effect"] for one in chosen(policy, {"HasCdn": False})] == ["Deny", "Deny"]
        arn = decoded("storage.yaml")["Parameters"]["DistributionArn"]["AllowedPattern"]
        assert not re.fullmatch(arn, "arn:aws:cloudfront::123456789012:distribution/*")
        assert re.fullmatch(arn, "arn:aws:cloudfront::123456789012:distribution/EDFDVBD6EXAMPLE")

    def test_passes_neither_signature_nor_cookie_on(self) -> None:
        config = resources(TEMPLATE)["CachePolicy"]["Properties"]["CachePolicyConfig"]
        passed_on = config["ParametersInCacheKeyAndForwardedToOrigin"]
        assert passed_on["QueryStringsConfig"] == {"QueryStringBehavior": "none"}
        assert passed_on["CookiesConfig"] == {"CookieBehavior": "none"}
        assert passed_on["HeadersConfig"] == {"HeaderBehavior": "none"}
        assert config["MaxTTL"] == {"Ref": "CacheSeconds"}

    def test_lets_pages_of_the_origins_in_and_no_uploaded_page_do_anything(self) -> None:
        headers = resources(TEMPLATE)["ResponseHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
        assert headers["CorsConfig"]["AccessControlAllowOrigins"] == {"Items": {"Ref": "AllowedOrigins"}}
        assert headers["CorsConfig"]["AccessControlAllowCredentials"] is False
        policy = headers["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"]
        assert policy.startswith("default-src 'none';")
        assert policy.endswith("; sandbox")
        assert "script" not in policy


class TestPaths:
    def test_of_odd_names_are_served(self) -> None:
        assert not any(map(leads_out, PATHS[:5]))
        assert sum(map(leads_out, PATHS)) > len(PATHS) / 2

    @pytest.mark.all
    def test_are_refused_by_the_function_as_by_the_edge_of_the_tests(self) -> None:
        """The function itself, by Node: what the journeys' edge refuses, CloudFront refuses."""
        need("npm")
        function = resources(TEMPLATE)["Paths"]["Properties"]
        assert function["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
        script = f"""{function["FunctionCode"]}
        const answers = JSON.parse(process.argv[1]).map((uri) => {{
          const request = {{ method: 'GET', uri, querystring: {{}}, headers: {{}}, cookies: {{}} }};
          const answer = handler({{ request }});
          return answer === request ? 'served' : answer.statusCode;
        }});
        console.log(JSON.stringify(answers));"""
        done = subprocess.run(
            ["node", "-e", script, json.dumps(PATHS)], capture_output=True, text=True, timeout=60, check=True
        )
        told = dict(zip(PATHS, json.loads(done.stdout), strict=True))
        assert told == {path: 403 if leads_out(path) else "served" for path in PATHS}

    def test_that_the_journeys_read_are_odd(self) -> None:
        assert {"what?*.jpg", "albums/2026/100%41.jpg"} <= set(NAMES)


class TestGuide:
    def test_names_parameters_and_outputs_that_there_are(self) -> None:
        (code,) = [block.code for block in blocks(PAGE) if block.language == "sh"]
        lines = code.replace("\\\n", " ").splitlines()
        deployed = [match for line in lines if (match := re.search(r"--template-file deploy/aws/(\S+) (.*)", line))]
        assert [match[1] for match in deployed] == [TEMPLATE, "storage.yaml", "service.yaml"]
        for match in deployed:
            given = set(re.findall(r"(?<!\S)([A-Z]\w+)=", match[2].partition("--parameter-overrides")[2]))
            assert given <= decoded(match[1])["Parameters"].keys()
            kinds = {part["Type"] for part in resources(match[1]).values()}
            assert any(kind.startswith("AWS::IAM") for kind in kinds) == ("CAPABILITY_IAM" in match[2])
        asked = re.findall(r"\bstack photos-cdn (\w+)", code)
        assert len(asked) == 3
        assert set(asked) <= decoded(TEMPLATE)["Outputs"].keys()
