"""The CloudFormation templates, read: what is in them, and what their functions give."""

import copy
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from tests.deploy.reading import DEPLOY

AWS = DEPLOY / "aws"
BUCKET = "photos-of-tests"
EXTERNAL_ID = "external-id-of-tests-0123456789"
REGION = "eu-central-1"
ARNS = {
    "VendedRole": "arn:aws:iam::123456789012:role/vended",
    "VendedBoundary": "arn:aws:iam::123456789012:policy/boundary",
    **{f"VendedDenials{number}": f"arn:aws:iam::123456789012:policy/denials-{number}" for number in range(1, 6)},
    "Logs": "arn:aws:logs:eu-central-1:123456789012:log-group:tokenvend:log-stream:*",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-000000000001",
    "ImageRepositoryArn": "arn:aws:ecr:eu-central-1:123456789012:repository/tokenvend",
    "SmtpSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:smtp-abcdef",
    "SecretKeyPreviousArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:previous-abcdef",
    "CognitoSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cognito-abcdef",
    "MigrationSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:migration-abcdef",
    "WebhookSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:webhook-abcdef",
    "FirebaseSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:firebase-abcdef",
    "BucketName": BUCKET,
}
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::Region": REGION,
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "service",
}
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:data-abcdef"
IMPORTS = {
    "BucketName": BUCKET,
    "DatabaseHost": "photos.eu-central-1.rds.amazonaws.com",
    "DatabaseResource": "db-ABCDEFGHIJKL",
    "ServiceRoleArn": "arn:aws:iam::123456789012:role/service",
    "ServiceRoleName": "service",
}
"""What other stacks export; the rest of it are secrets."""


@functools.cache
def _decoded(template: str) -> Any:
    import cfnlint.decode  # noqa: PLC0415 - seconds, in each process that collects tests

    found, _ = cfnlint.decode.decode(str(AWS / template))
    return json.loads(json.dumps(found))


def decoded(template: str) -> dict[str, Any]:
    """A template, its short forms written out."""
    found: dict[str, Any] = copy.deepcopy(_decoded(template))
    return found


def resources(template: str) -> dict[str, Any]:
    found: dict[str, Any] = decoded(template)["Resources"]
    return found


def statements(policy: dict[str, Any]) -> list[dict[str, Any]]:
    """All that it may come to have, whatever the conditions."""
    branches = [part.get("Fn::If", ["", part])[1:] for part in policy["Statement"]]
    return [statement for branch in branches for statement in branch if "Effect" in statement]


def chosen(items: list[Any], holds: dict[str, bool]) -> list[Any]:
    """What is left of a list, and of the lists in it, where these conditions hold or do not; others hold."""

    def pick(item: Any) -> Any:
        if isinstance(item, dict):
            if "Fn::If" in item:
                condition, wanted, otherwise = item["Fn::If"]
                return pick(wanted if holds.get(condition, True) else otherwise)
            return {name: pick(value) for name, value in item.items()}
        return chosen(item, holds) if isinstance(item, list) else item

    return [picked for item in items if (picked := pick(item)) != {"Ref": "AWS::NoValue"}]


def breaks_a_rule(template: str, **parameters: str) -> bool:
    """Whether CloudFormation would refuse these parameters for the template's `Rules`, which moto passes over."""
    found = decoded(template)
    values = {name: parameter.get("Default", "") for name, parameter in found["Parameters"].items()} | parameters

    def value(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        ((name, argument),) = part.items()
        if name == "Ref":
            return values[argument]
        if name == "Fn::Not":
            return not value(argument[0])
        assert name == "Fn::Equals", name
        return value(argument[0]) == value(argument[1])

    return any(
        value(rule["RuleCondition"]) and not all(value(assertion["Assert"]) for assertion in rule["Assertions"])
        for rule in found["Rules"].values()
    )


def resolved(value: Any, known: dict[str, str]) -> Any:
    """What CloudFormation's functions give where each condition is true."""
    if isinstance(value, list):
        members = (resolved(member, known) for member in value)
        return [member for member in members if member is not None]
    if not isinstance(value, dict):
        return value
    name = next(iter(value), "")
    if name != "Ref" and not name.startswith("Fn::"):
        return {key: resolved(member, known) for key, member in value.items()}
    return _called(name, value[name], known)


def _called(name: str, argument: Any, known: dict[str, str]) -> Any:
    if name == "Ref":
        return None if argument == "AWS::NoValue" else (PSEUDO | known)[argument]
    if name == "Fn::Sub":
        text, own = (argument, {}) if isinstance(argument, str) else argument
        names = PSEUDO | known | {key: resolved(member, known) for key, member in own.items()}
        return re.sub(r"\$\{(?!!)([\w:.]+)\}", lambda match: names[match[1]], text).replace("${!", "${")
    functions: dict[str, Callable[[Any], Any]] = {
        "Fn::GetAtt": lambda parts: known[parts[0]],
        "Fn::ImportValue": lambda export: IMPORTS.get(export["Fn::Sub"].partition("}-")[2], SECRET),
        "Fn::If": lambda parts: resolved(parts[1], known),
        "Fn::Select": lambda parts: resolved(parts[1], known)[parts[0]],
    }
    return functions[name](argument)


def references(value: Any) -> set[str]:
    """What it names by `Ref` and `Fn::GetAtt`, and so waits for."""
    if isinstance(value, list):
        return {name for member in value for name in references(member)}
    if not isinstance(value, dict):
        return set()
    own = {value.get("Ref"), value.get("Fn::GetAtt", [None])[0]} - {None}
    return own | {name for member in value.values() for name in references(member)}
