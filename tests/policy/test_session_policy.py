"""What a session policy allows: by golden files, and by an IAM evaluator that knows nothing of the builder."""

import itertools
import json
import unicodedata
import uuid
from pathlib import Path
from typing import cast, get_args

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.platform.problems import InvalidPath, PolicyTooLarge
from app.policy import session_policy
from app.policy.session_policy import Access
from tests.policy.iam import allowed, matches

GOLDEN = Path(__file__).parent / "golden"
USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
BUCKET = "photos"
PATHS = {"own": "", "narrowed": "albums/2026/", "non_ascii": "Fotos/Zürich 🏔/"}
CASES = [
    f"{access}.{path}.{partition}"
    for access, path, partition in itertools.product(get_args(Access), ("own", "narrowed"), ("aws", "aws-cn"))
] + ["read_write.non_ascii.aws"]

INTENDED = {
    "read": {"s3:GetObject", "s3:GetObjectTagging"},
    "write": {"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"},
    "read_write": {
        "s3:GetObject",
        "s3:GetObjectTagging",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    },
    "read_delete": {"s3:GetObject", "s3:GetObjectTagging", "s3:DeleteObject"},
}
LISTING = {"read", "read_write", "read_delete"}
OBJECT_ACTIONS = sorted(
    INTENDED["read_write"]
    | {
        "s3:DeleteObjectTagging",
        "s3:DeleteObjectVersion",
        "s3:GetObjectAcl",
        "s3:GetObjectVersion",
        "s3:GetObjectVersionTagging",
        "s3:PutObjectAcl",
        "s3:PutObjectRetention",
        "s3:PutObjectTagging",
        "s3:RestoreObject",
    }
)
ELSEWHERE = [
    "iam:CreateUser",
    "s3:CreateBucket",
    "s3:DeleteBucket",
    "s3:GetBucketLocation",
    "s3:ListAllMyBuckets",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:PutBucketCORS",
    "s3:PutBucketPolicy",
    "s3:PutBucketVersioning",
    "sts:AssumeRole",
    "sts:GetFederationToken",
]


accesses = st.sampled_from(get_args(Access))
segments = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='*?$\\"/%'), min_size=1, max_size=12
).filter(lambda segment: segment not in (".", ".."))
paths = st.lists(segments, max_size=4).map(lambda parts: "".join(f"{part}/" for part in parts))
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
"""S3 takes any UTF-8 as a key, wildcards and control characters too."""


def build(access: Access, prefix: str, *, partition: str = "aws") -> str:
    return session_policy.Bucket(partition, BUCKET).policy(prefix, access)


def object_arn(key: str, bucket: str = BUCKET) -> str:
    return f"arn:aws:s3:::{bucket}/{key}"


class TestGolden:
    @pytest.mark.parametrize("case", CASES)
    def test_policy_is_the_golden_one(self, case: str) -> None:
        """VC2: the document, and each byte of the text that STS gets."""
        access, path, partition = case.split(".")
        text = build(cast(Access, access), session_policy.narrowed_prefix(USER, PATHS[path]), partition=partition)
        golden = json.loads((GOLDEN / f"{case}.json").read_text(encoding="utf-8"))
        assert json.loads(text) == golden
        assert text == json.dumps(golden, separators=(",", ":"), ensure_ascii=True)

    def test_every_golden_file_has_its_case(self) -> None:
        assert sorted(file.stem for file in GOLDEN.iterdir()) == sorted(CASES)


class TestObjects:
    @given(accesses, st.uuids(), paths, keys)
    def test_exactly_the_intended_actions_work_under_the_prefix(
        self, access: Access, user: uuid.UUID, path: str, key: str
    ) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        text = build(access, prefix)
        for action in OBJECT_ACTIONS:
            assert allowed(text, action, object_arn(prefix + key)) == (action in INTENDED[access])

    @given(accesses, st.uuids(), paths, st.uuids(), keys)
    def test_nothing_works_under_another_prefix(
        self, access: Access, user: uuid.UUID, path: str, other: uuid.UUID, key: str
    ) -> None:
        """VC2: user `ab` cannot reach `abc/`, nor `AB/`, nor what only begins like the folder."""
        assume(user != other)
        text = build(access, session_policy.narrowed_prefix(user, path))
        foreign = [
            f"users/{other}/{path}{key}",
            f"users/{user}{key.lstrip('/')}",  # a twin, or the id without its slash
            f"users/{user}a/{path}{key}",
            f"users/{str(user)[:-1]}/{path}{key}",
            f"Users/{user}/{path}{key}",
            f"/users/{user}/{path}{key}",
            f"users//{user}/{path}{key}",
            f"{user}/{path}{key}",
            key,
        ]
        if str(user).upper() != str(user):
            foreign.append(f"users/{str(user).upper()}/{path}{key}")
        if path:
            foreign += [f"users/{user}/{path[:-1]}2/{key}", f"users/{user}/{path[:-1]}", f"users/{user}/"]
        for reached, action in itertools.product(foreign, OBJECT_ACTIONS):
            assert not allowed(text, action, object_arn(reached)), reached
        for bucket, action in itertools.product(("photos2", "photo", "s"), OBJECT_ACTIONS):
            assert not allowed(text, action, object_arn(f"users/{user}/{path}{key}", bucket))

    @given(accesses, st.uuids(), paths, keys)
    def test_nothing_works_that_is_not_for_objects(self, access: Access, user: uuid.UUID, path: str, key: str) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        text = build(access, prefix)
        for action in ELSEWHERE:
            for resource in ("*", "arn:aws:s3:::photos", object_arn(prefix + key), "arn:aws:iam::1:role/x"):
                assert not allowed(text, action, resource, s3_prefix=prefix)


class TestListing:
    @given(accesses, st.uuids(), paths, keys)
    def test_the_own_prefix_is_listed_where_access_reads(
        self, access: Access, user: uuid.UUID, path: str, key: str
    ) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        text = build(access, prefix)
        for asked in (prefix, prefix + key):
            assert allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", s3_prefix=asked) == (access in LISTING)
        assert not allowed(text, "s3:ListBucket", "arn:aws:s3:::photos2", s3_prefix=prefix)

    @given(accesses, st.uuids(), paths, st.uuids(), keys)
    def test_no_other_prefix_is_listed(
        self, access: Access, user: uuid.UUID, path: str, other: uuid.UUID, key: str
    ) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        text = build(access, prefix)
        whole = path == ""  # which may be listed without its slash
        shorter = [prefix[:length] for length in range(len(prefix))]
        twins = [f"users/{user}{key.lstrip('/')}", f"users/{user}a/", f"users/{other}/{key}", f"Users/{user}/", key]
        asked_for = [None, *shorter, *(twin for twin in twins if not twin.startswith(prefix))]
        for asked in (one for one in asked_for if not (whole and one == prefix[:-1])):
            assert not allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", s3_prefix=asked), asked

    @given(accesses, st.uuids(), paths)
    def test_the_whole_own_prefix_is_listed_without_its_slash_and_no_folder(
        self, access: Access, user: uuid.UUID, path: str
    ) -> None:
        """VC2: `albums/x` would list `albums/x2/`."""
        text = build(access, session_policy.narrowed_prefix(user, path))
        for folder in ("", path):
            asked = session_policy.narrowed_prefix(user, folder).removesuffix("/")
            expected = access in LISTING and path == folder == ""
            assert allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", s3_prefix=asked) == expected

    @given(st.uuids(), st.uuids(), paths)
    def test_nobody_elses_prefix_begins_like_an_own_one(self, user: uuid.UUID, other: uuid.UUID, path: str) -> None:
        """VC2: ids have one length. So a list of `users/<id>` without its slash has nothing foreign in it."""
        assume(user != other)
        bare = session_policy.user_prefix(user).removesuffix("/")
        assert not session_policy.narrowed_prefix(other, path).startswith(bare)
        assert not session_policy.object_key(other, f"{path}a.jpg").startswith(bare)

    @pytest.mark.parametrize("end", ["0", "00000000-0000-4000-8000-000000000000", "-", "b", " ", "%2f", "."])
    def test_no_id_is_longer_than_another(self, end: str) -> None:
        with pytest.raises(ValueError, match="not the prefix of a user"):
            build("read", f"users/{USER}{end}/")


class TestSize:
    @given(accesses, st.uuids(), st.lists(st.text(min_size=1, max_size=80), max_size=6))
    @example("read_write", USER, ["é" * 127])
    def test_is_short_and_ascii_or_refused(self, access: Access, user: uuid.UUID, parts: list[str]) -> None:
        try:
            text = build(access, session_policy.narrowed_prefix(user, "".join(f"{part}/" for part in parts)))
        except (InvalidPath, PolicyTooLarge):
            return
        assert text.isascii()
        assert len(text) <= 2048
        assert json.dumps(json.loads(text), separators=(",", ":")) == text

    def test_an_escaped_path_may_be_too_large(self) -> None:
        with pytest.raises(PolicyTooLarge):
            build("read_write", session_policy.narrowed_prefix(USER, "é" * 127 + "/"))

    def test_the_longest_ascii_path_fits(self) -> None:
        assert len(build("read_write", session_policy.narrowed_prefix(USER, "a" * 255 + "/"))) <= 2048


HOSTILE = {
    "star": "*/",
    "star_within": "albums/2*/",
    "question_mark": "album?/",
    "variable": "${aws:username}/",
    "variable_star": "${*}/",
    "dollar": "a$b/",
    "quote": 'a"b/',
    "statement": '"},{"Effect":"Allow","Action":"*","Resource":"*"/',
    "newline": "a\nb/",
    "carriage_return": "a\rb/",
    "nul": "a\0b/",
    "delete": "a\x7fb/",
    "next_line": "a\x85b/",
    "backslash": "a\\b/",
    "parent": "../",
    "parent_within": "a/../b/",
    "here": "./",
    "encoded_parent": "%2e%2e/",
    "encoded_parent_mixed": "a/.%2E/b/",
    "encoded_slash_parent": "a%2f../",
    "encoded_here": "a/%2e/",
    "absolute": "/a/",
    "empty_segment": "a//b/",
    "only_slash": "/",
    "no_slash": "albums",
    "ten_kilobytes": "a" * 10_000 + "/",
    "too_many_bytes": "é" * 128 + "/",
    "high_surrogate": "a\ud800/",
    "low_surrogate": "\udfffa/",
}


class TestHostilePaths:
    @pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
    def test_never_reach_a_policy(self, path: str) -> None:
        """VC2: nothing that a caller writes widens the policy."""
        with pytest.raises(InvalidPath):
            session_policy.narrowed_prefix(USER, path)

    @pytest.mark.parametrize(
        "path", sorted({form for path in HOSTILE.values() for form in (path, path.removesuffix("/"))})
    )
    def test_are_no_objects_either(self, path: str) -> None:
        """VC2: of an upload ticket. Longer than allowed is so with its `/` alone."""
        if path in ("albums", "é" * 128):
            assert session_policy.object_key(USER, path) == f"users/{USER}/{path}"
            return
        with pytest.raises(InvalidPath):
            session_policy.object_key(USER, path)

    @given(st.text(max_size=20), st.sampled_from('*?$\\"\n\r\t\0\x1f\x7f\x9f\ud800\udfff'), st.text(max_size=20))
    def test_whatever_stands_around_them(self, before: str, hostile: str, after: str) -> None:
        with pytest.raises(InvalidPath):
            session_policy.narrowed_prefix(USER, f"{before}{hostile}{after}/")

    @pytest.mark.parametrize(
        "prefix",
        [
            "",
            "users/",
            "users/*/",
            f"users/{USER}",
            f"users/{USER}*/",
            f"users/{str(USER).upper()}/",
            f"users/{USER}/${{aws:username}}/",
            f"users/{USER}//",
            f"users/{USER}/albums",
            f"users/{USER}/\n",
            f"x/users/{USER}/",
        ],
    )
    def test_are_refused_by_the_builder_too(self, prefix: str) -> None:
        with pytest.raises(ValueError, match="not the prefix of a user"):
            build("read_write", prefix)


class TestEvaluator:
    """The evaluator itself, so that the properties above rest on something."""

    @pytest.mark.parametrize(
        ("pattern", "text", "expected"),
        [
            ("a*c", "abbc", True),
            ("a*c", "ac", True),
            ("a*c", "abcd", False),
            ("a?c", "abc", True),
            ("a?c", "ac", False),
            ("*", "", True),
            ("u1*", "u10/x", True),
            ("u1/*", "u10/x", False),
            ("a/*", "A/x", False),
            ("*b*", "aabaa", True),
        ],
    )
    def test_wildcards(self, pattern: str, text: str, expected: bool) -> None:
        assert matches(pattern, text) is expected

    def test_deny_wins(self) -> None:
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        no_delete = {"Effect": "Deny", "Action": ["s3:Delete*"], "Resource": "*"}
        text = json.dumps({"Version": "2012-10-17", "Statement": [everything, no_delete]})
        assert allowed(text, "s3:GetObject", "arn:aws:s3:::b/k")
        assert not allowed(text, "s3:DeleteObject", "arn:aws:s3:::b/k")

    def test_it_sees_the_classic_hole(self) -> None:
        """`users/<id>*` without the slash reaches the twin: the properties would fail on it."""
        hole = build("read", f"users/{USER}/").replace(f"{USER}/*", f"{USER}*")
        assert allowed(hole, "s3:GetObject", object_arn(f"users/{USER}b/secret.jpg"))


class TestCharacters:
    def test_all_that_widen_or_control_are_refused_and_no_other(self) -> None:
        for character in map(chr, range(0x110000)):
            refused = character in '*?$\\"' or unicodedata.category(character) in ("Cc", "Cs")
            assert session_policy._widens(character) == refused, hex(ord(character))
