"""The evaluator of policies: IAM's own rules case by case, and moto's evaluator on policies that both understand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.iam.access_control import IAMPolicy, PermissionResult

from app.policy.evaluation import Request, evaluate

BUCKET = "arn:aws:s3:::photos"
KNOWN = {
    "s3:prefix": ("users/a/",),
    "aws:securetransport": ("true",),
    "aws:principaltag/user": ("a*b",),
    "aws:sourceidentity": (),
    "aws:principalarn": ("arn:aws:iam::1:role/x/y",),
    "aws:currenttime": ("2026-11-23T18:00:00Z",),
    "s3:max-keys": ("100",),
}


def statement(effect: str = "Allow", **members: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "s3:GetObject", "Resource": "*", **members}


def outcome(
    *statements: dict[str, Any], action: str = "s3:GetObject", resource: str = f"{BUCKET}/users/a/x.jpg"
) -> str:
    return evaluate({"Statement": list(statements)}, Request(action, resource, KNOWN)).outcome


class TestStatements:
    @pytest.mark.parametrize(
        ("statements", "expected"),
        [
            ([], "missing"),
            ([statement()], "allowed"),
            ([statement(), statement("Deny")], "denied"),
            ([statement("Deny", Action="s3:*"), statement()], "denied"),
            ([statement("Deny", NotAction="s3:Get*"), statement()], "allowed"),
            ([statement(Action=["s3:PutObject", "S3:getobject"])], "allowed"),
            ([{"Effect": "Allow", "NotAction": "s3:Delete*", "Resource": "*"}], "allowed"),
            ([{"Effect": "Allow", "Action": "*", "NotResource": f"{BUCKET}/users/a/*"}], "missing"),
            ([statement(Resource=f"{BUCKET}/users/?/*")], "allowed"),
            ([statement(Resource=f"{BUCKET}/USERS/*")], "missing"),
            ([statement(Resource=f"{BUCKET}/users/a")], "missing"),
            ([statement(Principal="*")], "unknown"),
            ([statement("Deny", Principal="*"), statement()], "unknown"),
            ([statement(), statement(Principal="*")], "allowed"),
            ([{"Effect": "Allow", "Resource": "*"}], "unknown"),
            ([statement("allow")], "missing"),
        ],
    )
    def test_deny_wins_and_what_is_not_known_allows_nothing(self, statements: Any, expected: str) -> None:
        statements = [
            {k: v for k, v in one.items() if not ("NotAction" in one and k == "Action")} for one in statements
        ]
        assert outcome(*statements) == expected

    def test_one_statement_needs_no_list(self) -> None:
        assert evaluate({"Statement": statement()}, Request("s3:GetObject", "x", {})).outcome == "allowed"

    def test_says_which_decided(self) -> None:
        deny = statement("Deny", Sid="No")
        assert evaluate({"Statement": [statement(), deny]}, Request("s3:GetObject", "x", {})).statement == deny

    @pytest.mark.parametrize(
        ("resource", "key", "expected"),
        [
            ("${aws:PrincipalTag/user}/*", "a*b/x", "allowed"),
            ("${aws:PrincipalTag/user}/*", "aXb/x", "missing"),
            ("a${*}b", "a*b", "allowed"),
            ("a${*}b", "aXb", "missing"),
            ("${aws:username}/*", "x/y", "unknown"),
            ("${aws:SourceIdentity}", "x", "unknown"),
            ("a.b", "aXb", "missing"),
            ("a*b", "a\nb", "allowed"),
        ],
    )
    def test_variables_stand_for_what_is_known(self, resource: str, key: str, expected: str) -> None:
        assert outcome(statement(Resource=resource), resource=key) == expected


class TestConditions:
    @pytest.mark.parametrize(
        ("operator", "key", "wanted", "expected"),
        [
            ("StringEquals", "s3:prefix", ["x", "users/a/"], True),
            ("StringEquals", "S3:Prefix", "users/a/", True),
            ("StringEquals", "s3:prefix", "USERS/a/", False),
            ("StringEqualsIgnoreCase", "s3:prefix", "USERS/a/", True),
            ("StringNotEquals", "s3:prefix", "users/a/", False),
            ("StringNotEquals", "s3:prefix", ["x", "y"], True),
            ("StringLike", "s3:prefix", "users/*", True),
            ("StringNotLike", "s3:prefix", "users/*", False),
            ("Bool", "aws:SecureTransport", True, True),
            ("Bool", "aws:SecureTransport", "false", False),
            ("Null", "aws:SourceIdentity", "true", True),
            ("Null", "s3:prefix", "true", False),
            ("StringEquals", "aws:SourceIdentity", "a", False),
            ("StringEqualsIfExists", "aws:SourceIdentity", "a", True),
            ("StringNotEquals", "aws:SourceIdentity", "a", True),
            ("ForAllValues:StringEquals", "aws:SourceIdentity", "a", True),
            ("ForAnyValue:StringNotEquals", "aws:SourceIdentity", "a", False),
            ("ForAnyValue:StringLike", "s3:prefix", "users/*", True),
            ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:role/x/*", True),
            ("ArnLike", "aws:PrincipalArn", "arn:aws:*:role/x/y", False),
            ("ArnNotEquals", "aws:PrincipalArn", "arn:aws:iam::1:role/x/y", False),
            ("DateLessThan", "aws:CurrentTime", "2026-11-23T18:00:01Z", True),
            ("DateGreaterThan", "aws:CurrentTime", "2026-11-23T18:00:00Z", False),
            ("DateNotEquals", "aws:CurrentTime", "1795716000", True),
            ("NumericLessThanEquals", "s3:max-keys", 100, True),
            ("NumericGreaterThan", "s3:max-keys", "99.5", True),
            ("NumericEquals", "s3:max-keys", "many", None),
            ("StringEquals", "s3:prefix", "${aws:username}", None),
            ("StringEquals", "aws:SourceIp", "10.0.0.1", None),
            ("IpAddress", "s3:prefix", "10.0.0.0/8", None),
            ("ForMostValues:StringEquals", "s3:prefix", "users/a/", None),
            ("NullIfSure", "s3:prefix", "x", None),
        ],
    )
    def test_hold_as_iam_says(self, operator: str, key: str, wanted: Any, expected: bool | None) -> None:
        """And what cannot be judged is told: it neither allows nor lets a deny pass for one that does not apply."""
        condition = {operator: {key: wanted}}
        allows = {True: "allowed", False: "missing", None: "unknown"}
        denies = {True: "denied", False: "allowed", None: "unknown"}
        assert outcome(statement(Condition=condition)) == allows[expected]
        assert outcome(statement(), statement("Deny", Condition=condition)) == denies[expected]

    def test_all_have_to_hold(self) -> None:
        no, yes, doubt = ({"s3:prefix": "x"}, {"aws:SecureTransport": "true"}, {"aws:SourceIp": "x"})
        assert outcome(statement(Condition={"StringEquals": no | yes})) == "missing"
        assert outcome(statement(Condition={"StringEquals": no | doubt})) == "missing"
        assert outcome(statement(Condition={"StringEquals": yes | doubt})) == "unknown"


NAMES = st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:Get*", "s3:*", "*"])
KEYS = st.text(alphabet="ab/", min_size=1, max_size=4)
PATTERNS = st.text(alphabet="ab/*", min_size=1, max_size=4)
STATEMENTS = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Allow", "Deny"]),
        "Action": st.lists(NAMES, min_size=1, max_size=2),
        "Resource": st.lists(PATTERNS, min_size=1, max_size=2),
    }
)


class TestMoto:
    @given(st.lists(STATEMENTS, min_size=1, max_size=4), st.sampled_from(["s3:GetObject", "s3:ListBucket"]), KEYS)
    def test_agrees(self, statements: list[dict[str, Any]], action: str, key: str) -> None:
        """moto has the elements Action and Resource with `*`, and an explicit deny that wins."""
        document = {"Version": "2012-10-17", "Statement": statements}
        expected = {
            PermissionResult.PERMITTED: "allowed",
            PermissionResult.DENIED: "denied",
            PermissionResult.NEUTRAL: "missing",
        }
        theirs = IAMPolicy({"policy_document": json.dumps(document)}).is_action_permitted(action, key)
        assert evaluate(document, Request(action, key, {})).outcome == expected[theirs]
