"""Hostile values through each format and the program that reads it."""

import configparser
import json
import re
from pathlib import Path

import boto3
import pytest
import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from app.client import formats
from app.client.service import ClientError
from tests.client.canned_service import CREDENTIAL
from tests.client.conftest import Terminal, found

HOSTILE = (
    "it's",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME} $HOME %PATH% !!",
    "two\nlines\n",
    "\r\n\t ",
    "back\\slash \\' \\\\' \\n",
    "-n",
    "*?[a]{b,c}~ # & | < > ;",
    "‘a’ ‚b‛ ''‘‘'’ “c”",
    "(touch pwned)",
    "\x1b[31m\x07é\U0001f4f7",
    "",
)
VARIABLES = {f"HOSTILE_{number}": value for number, value in enumerate(HOSTILE)}


class TestShells:
    @pytest.mark.parametrize(("shell", "style"), [("bash", "env"), ("dash", "env"), ("sh", "env"), ("fish", "fish")])
    def test_every_value_arrives_as_it_was(self, terminal: Terminal, shell: str, style: str) -> None:
        script = formats.SHELLS[style](VARIABLES)
        (terminal.home / "script").write_bytes(script.encode())
        load = "source script" if shell == "fish" else 'eval "$(cat script)"'
        assert terminal.run(found(shell), "-c", f"{load}; env -0 > seen").returncode == 0
        entries = (terminal.home / "seen").read_bytes().decode().split("\0")
        seen = dict(entry.split("=", 1) for entry in entries if entry)
        assert {name: seen.get(name) for name in VARIABLES} == VARIABLES
        assert not (terminal.home / "pwned").exists()

    def test_powershell_reads_one_assignment_of_one_string_each(self) -> None:
        script = formats.powershell(VARIABLES)
        tree = Parser(Language(tree_sitter_powershell.language())).parse(script.encode())
        assert not tree.root_node.has_error
        statements = tree.root_node.children[0].children
        assert [statement.type for statement in statements] == ["pipeline"] * len(VARIABLES)
        assert dict(assignment(statement) for statement in statements) == VARIABLES


def assignment(statement: Node) -> tuple[str, str]:
    """Name and value of `$Env:name = 'value'`, which must be all that the statement is."""
    [expression] = statement.children
    left, operator, right = expression.children
    assert (expression.type, operator.text) == ("assignment_expression", b"=")
    assert left.text is not None
    assert right.text is not None
    name = re.fullmatch(r"\$Env:(\w+)", left.text.decode())
    assert name is not None
    node = right
    while node.type != "string_literal":
        [node] = node.children
    [literal] = node.children
    assert literal.type == "verbatim_string_characters"
    return name[1], powershell_string(right.text.decode())


def powershell_string(literal: str) -> str:
    """A verbatim string's value by PowerShell's own rule: any two of the five single quotes in a row are the second."""
    quotes = "'‘’‚‛"
    assert literal[0] in quotes
    value, rest = "", literal[1:]
    while rest[0] not in quotes or rest[1:2] in tuple(quotes):
        skipped = 1 if rest[0] in quotes else 0
        value += rest[skipped]
        rest = rest[skipped + 1 :]
    assert len(rest) == 1, f"the string ends before {rest[1:]!r}"
    return value


class TestEngine:
    """What the engine needs that is not AWS's."""

    @pytest.mark.parametrize(
        ("endpoint", "needed"),
        [
            (None, False),
            ("https://s3.eu-central-1.amazonaws.com", False),
            ("https://bucket.vpce-1a2b.s3.eu-central-1.vpce.amazonaws.com", False),
            ("https://s3.cn-north-1.amazonaws.com.cn", False),
            ("https://s3.dualstack.eu-central-1.api.aws", False),
            ("http://127.0.0.1:8333", True),
            ("https://amazonaws.com.example.org", True),
            ("https://notamazonaws.com", True),
        ],
    )
    def test_other_engines_get_no_checksums_that_they_do_not_ask_for(self, endpoint: str | None, needed: bool) -> None:
        """Ceph refuses those at the end of an upload, over TLS."""
        vended = CREDENTIAL | {"endpoint_url": endpoint}
        for style in ("env", "fish", "powershell"):
            script = formats.render(style, vended)
            assert ("AWS_REQUEST_CHECKSUM_CALCULATION" in script) == ("when_required" in script) == needed
        section = formats.render("profile", vended)
        assert ("\nrequest_checksum_calculation = when_required" in section) == needed
        assert f"\nprovider = {'Other' if needed else 'AWS'}\n" in formats.render("rclone", vended)

    @pytest.mark.parametrize("style", ["env", "profile", "rclone"])
    def test_an_endpoint_that_is_no_url_is_one_sentence(self, style: str) -> None:
        with pytest.raises(ClientError, match="is no URL"):
            formats.render(style, CREDENTIAL | {"endpoint_url": "http://["})


class TestDocuments:
    @pytest.mark.parametrize("value", HOSTILE)
    def test_process_and_json_carry_any_value(self, value: str) -> None:
        vended = CREDENTIAL | {"secret_access_key": value}
        assert json.loads(formats.render("process", vended)) == {
            "Version": 1,
            "AccessKeyId": "ASIACANNED",
            "SecretAccessKey": value,
            "SessionToken": "canned//token==",
            "Expiration": "2030-01-01T00:00:00Z",
        }
        assert json.loads(formats.render("json", vended)) == vended

    def test_profile_is_what_boto3_reads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hostile = "a%(b)s;c#d=e:'\"$x`"
        file = tmp_path / "credentials"
        vended = CREDENTIAL | {"session_token": hostile, "region": "eu-north-1", "endpoint_url": "http://127.0.0.1:9"}
        file.write_text(formats.render("profile", vended))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        session = boto3.Session(profile_name="tokenvend")
        keys = session.get_credentials().get_frozen_credentials()
        assert (keys.access_key, keys.secret_key, keys.token) == ("ASIACANNED", "canned/secret+key", hostile)
        client = session.client("s3")
        assert (client.meta.region_name, client.meta.endpoint_url) == ("eu-north-1", "http://127.0.0.1:9")
        client.close()

    @pytest.mark.parametrize("value", ["a\n[default]", "a\raws_access_key_id = b", " a", "", "a b"])
    def test_profile_refuses_what_its_file_cannot_hold(self, value: str) -> None:
        with pytest.raises(ClientError, match="another --format"):
            formats.render("profile", CREDENTIAL | {"session_token": value})

    def test_environment_is_what_boto3_takes_its_region_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")  # of the shell in which it is evaluated
        for name, value in formats.environment(CREDENTIAL | {"region": "eu-central-1"}).items():
            monkeypatch.setenv(name, value)
        assert boto3.Session().region_name == "eu-central-1"

    def test_endpoint_is_named_only_where_there_is_one(self) -> None:
        assert "AWS_ENDPOINT_URL_S3" not in formats.environment(CREDENTIAL)
        assert "endpoint_url" not in configparser_section(formats.render("profile", CREDENTIAL))
        with_endpoint = CREDENTIAL | {"endpoint_url": "https://s3.example.org"}
        assert formats.environment(with_endpoint)["AWS_ENDPOINT_URL_S3"] == "https://s3.example.org"


def configparser_section(text: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return dict(parser["tokenvend"])


class TestRclone:
    def test_reads_the_section(self, terminal: Terminal) -> None:
        hostile = "a(b)s;c#d=e:'\"$x`//+=="
        vended = CREDENTIAL | {"session_token": hostile, "endpoint_url": "http://127.0.0.1:9", "force_path_style": True}
        (terminal.home / "rclone.conf").write_text(formats.render("rclone", vended))
        done = terminal.run(found("rclone"), "--config", "rclone.conf", "config", "dump")
        assert json.loads(done.stdout)["tokenvend"] == {
            "type": "s3",
            "provider": "Other",
            "access_key_id": "ASIACANNED",
            "secret_access_key": "canned/secret+key",
            "session_token": hostile,
            "region": "us-east-1",
            "endpoint": "http://127.0.0.1:9",
            "force_path_style": "true",
            "no_check_bucket": "true",
        }

    @pytest.mark.parametrize("value", ["", "a b", "a\nb", '"a"', "`a`", "é", "a%(b)s"])
    def test_is_given_no_value_that_it_would_read_otherwise(self, value: str) -> None:
        with pytest.raises(ClientError, match="use another --format"):
            formats.render("rclone", CREDENTIAL | {"session_token": value})
