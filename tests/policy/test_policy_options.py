"""Policies with a key of SSE-KMS, and behind the fence that managed policies need."""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.platform.problems import InvalidPath, PolicyTooLarge
from app.policy import session_policy
from app.policy.session_policy import Access, Encryption
from tests.policy.iam import allowed
from tests.policy.test_session_policy import ELSEWHERE, OBJECT_ACTIONS, accesses, keys, object_arn, paths
from tests.support.service import Service

GOLDEN = Path(__file__).parent / "golden_options"
DEPLOY = Path(__file__).parents[2] / "deploy" / "aws"
USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
GUEST = uuid.UUID("5d2f8c1a-3b4e-4f60-8a7b-9c0d1e2f3a4b")
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-000000000001"
ENCRYPTION = Encryption(KEY, "s3.eu-central-1.amazonaws.com", bucket_keys=False)
BUCKET_KEYS = Encryption(KEY, "s3.eu-central-1.amazonaws.com", bucket_keys=True)
CHINESE = Encryption(
    KEY.replace("aws:kms:eu-central-1", "aws-cn:kms:cn-north-1"), "s3.cn-north-1.amazonaws.com.cn", False
)
ADA = "users/6a1d2c3b-7e8f-4a5b-8c9d-0e1f2a3b4c5d/"
SHARED = (f"{ADA}albums/2026/", f"{ADA}Fotos/Zürich/")
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"{access}.kms": {"access": access, "encryption": ENCRYPTION} for access in get_args(Access)},
    **{f"{access}.fenced": {"access": access, "fenced": True} for access in get_args(Access)},
    "read_write.bucket_keys": {"access": "read_write", "encryption": BUCKET_KEYS},
    "read_write.kms.aws-cn": {"access": "read_write", "encryption": CHINESE, "partition": "aws-cn"},
    "read_write.kms.fenced": {"access": "read_write", "encryption": ENCRYPTION, "fenced": True},
    **{f"{access}.tags": {"access": access, "tags": "write"} for access in get_args(Access)},
    "read_write.tags.fenced": {"access": "read_write", "tags": "write", "fenced": True},
    "read_write.location": {"access": "read_write", "location": True},
    "write.location.fenced": {"access": "write", "location": True, "fenced": True},
    "read.versions": {"access": "read", "versions": True},
    "read.versions.fenced": {"access": "read", "versions": True, "fenced": True},
    **{f"{access}.shared": {"access": access, "shared": SHARED} for access in ("read", "read_write")},
    "read.shared.fenced": {"access": "read", "shared": SHARED[:1], "fenced": True},
    "read_write.shared.fenced": {"access": "read_write", "shared": SHARED[:1], "fenced": True},
    "read_write.shared.kms": {"access": "read_write", "shared": SHARED, "encryption": ENCRYPTION},
    "read_write.shared.bucket_keys": {"access": "read_write", "shared": SHARED, "encryption": BUCKET_KEYS},
    "read_write.filled": {"access": "read_write", "shared": SHARED, "filled": SHARED[:1]},
    "read_write.filled.tags": {"access": "read_write", "shared": SHARED, "filled": SHARED, "tags": "write"},
    "read_write.filled.fenced": {"access": "read_write", "shared": SHARED[:1], "filled": SHARED[:1], "fenced": True},
    "read_write.filled.kms": {
        "access": "read_write",
        "shared": SHARED[:1],
        "filled": SHARED[:1],
        "encryption": ENCRYPTION,
    },
    **{
        f"link.filled{name}": {"access": "read", "prefix": SHARED[0], "by_link": True, "contributor_id": GUEST, **more}
        for name, more in {
            "": {},
            ".fenced": {"fenced": True},
            ".kms": {"encryption": ENCRYPTION},
            ".bucket_keys": {"encryption": BUCKET_KEYS},
        }.items()
    },
    "read_write.filled.bucket_keys": {
        "access": "read_write",
        "shared": SHARED,
        "filled": SHARED[:1],
        "encryption": BUCKET_KEYS,
    },
}
MANAGED = [
    json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]})
    for action, resource in [
        ("*", "*"),
        ("s3:*", "*"),
        ("s3:GetObject", "arn:aws:s3:::photos/*"),
        ("s3:List*", "arn:aws:s3:::photos"),
        ("kms:*", "*"),
    ]
]


ASKED = ("shared", "filled", "versions", "by_link", "contributor_id")


def build(access: Access = "read_write", prefix: str | None = None, **changes: Any) -> str:
    asked = {name: changes.pop(name) for name in ASKED if name in changes}
    bucket = session_policy.Bucket(**{"partition": "aws", "name": changes.pop("bucket", "photos")} | changes)
    return bucket.policy(prefix or session_policy.user_prefix(USER), access, **asked)


class TestGolden:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_policy_is_the_golden_one(self, name: str) -> None:
        """VC2: each byte of the text that STS gets."""
        golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
        assert build(**VARIANTS[name]) == json.dumps(golden, separators=(",", ":"), ensure_ascii=True)

    def test_every_golden_file_has_its_variant(self) -> None:
        assert sorted(file.name for file in GOLDEN.iterdir()) == sorted(f"{name}.json" for name in VARIANTS)


class TestFence:
    """VC2: managed policies add to what a session policy allows, so S3 is denied but for what it allows."""

    @given(accesses, st.uuids(), paths, keys, st.sampled_from(MANAGED))
    def test_s3_is_what_it_is_without_them(
        self, access: Access, other: uuid.UUID, path: str, key: str, managed: str
    ) -> None:
        assume(other != USER and len(path) < 20)
        prefix = session_policy.narrowed_prefix(USER, path)
        alone = build(access, prefix)
        fenced = build(access, prefix, fenced=True)
        for reached in (prefix + key, f"users/{other}/{key}", f"users/{USER}x/{key}", key):
            for action in OBJECT_ACTIONS:
                expected = allowed(alone, action, object_arn(reached))
                assert allowed(fenced, action, object_arn(reached), also=[managed]) == expected, (action, reached)
        bare = prefix.removesuffix("/")
        for listed in (prefix, bare, f"{bare}x", f"{bare}x/", f"users/{other}/", f"users/{other}", "", None):
            expected = allowed(alone, "s3:ListBucket", "arn:aws:s3:::photos", s3_prefix=listed)
            actual = allowed(fenced, "s3:ListBucket", "arn:aws:s3:::photos", also=[managed], s3_prefix=listed)
            assert actual == expected, listed

    @given(accesses, st.sampled_from(MANAGED))
    def test_no_bucket_is_administered(self, access: Access, managed: str) -> None:
        fenced = build(access, fenced=True)
        for action in (action for action in ELSEWHERE if action.startswith("s3:")):
            for bucket in ("photos", "photos2"):
                assert not allowed(fenced, action, f"arn:aws:s3:::{bucket}", also=[managed], s3_prefix="users/")

    def test_other_services_are_what_the_managed_policy_gives(self) -> None:
        fenced, resource = build(fenced=True), "arn:aws:rekognition:eu-central-1:1:collection/faces"
        assert allowed(fenced, "rekognition:IndexFaces", resource, also=[MANAGED[0]])
        assert not allowed(fenced, "rekognition:IndexFaces", resource)

    def test_without_it_they_would_open_everything(self) -> None:
        assert allowed(build(), "s3:GetObject", object_arn(f"users/{uuid.uuid4()}/a.jpg"), also=[MANAGED[1]])


class TestTags:
    """Of own objects: read by whoever reads the object; written where the operator says so, by whoever writes it."""

    WRITTEN = {
        "read": {"s3:GetObjectTagging"},
        "write": {"s3:PutObjectTagging"},
        "read_write": {"s3:GetObjectTagging", "s3:PutObjectTagging", "s3:DeleteObjectTagging"},
        "read_delete": {"s3:GetObjectTagging"},
    }

    @settings(max_examples=25)
    @given(accesses, st.uuids(), keys, st.booleans())
    def test_are_written_where_the_operator_says_so(
        self, access: Access, other: uuid.UUID, key: str, fenced: bool
    ) -> None:
        assume(other != USER)
        also = [MANAGED[1]] if fenced else []
        shared = (f"users/{other}/albums/",) if access.startswith("read") else ()
        text = build(access, tags="write", fenced=fenced, shared=shared)
        own, before = object_arn(session_policy.user_prefix(USER) + key), build(access)
        # A fence around shared folders has no room to tell tags apart where nothing is written.
        written = set() if fenced and access == "read" else self.WRITTEN[access]
        for action in OBJECT_ACTIONS:
            expected = action in written or (action != "s3:GetObjectTagging" and allowed(before, action, own))
            assert allowed(text, action, own, also=also) == expected, action
            if action != "s3:GetObject":
                assert not allowed(text, action, object_arn(f"users/{other}/albums/{key}"), also=also), action


class TestLocation:
    @pytest.mark.parametrize("fenced", [False, True])
    @pytest.mark.parametrize("access", get_args(Access))
    def test_is_told_of_the_one_bucket_where_the_operator_says_so(self, access: Access, fenced: bool) -> None:
        also = [MANAGED[1]] if fenced else []
        text = build(access, location=True, fenced=fenced)
        assert allowed(text, "s3:GetBucketLocation", "arn:aws:s3:::photos", also=also)
        assert not allowed(text, "s3:GetBucketLocation", "arn:aws:s3:::photos2", also=also)
        for action in set(ELSEWHERE) - {"s3:GetBucketLocation"}:
            if action.startswith("s3:"):
                assert not allowed(text, action, "arn:aws:s3:::photos", also=also), action


class TestShared:
    """What others share is read and listed, and not a thing more, fenced or not, whatever is sent along."""

    @settings(max_examples=25)
    @given(st.sampled_from(["read", "read_write"]), st.uuids(), paths.filter(bool), keys, st.booleans())
    def test_is_read_and_nothing_else_of_its_owners(
        self, access: Access, owner: uuid.UUID, path: str, key: str, fenced: bool
    ) -> None:
        assume(owner != USER and len(path.encode()) < 30)
        folder, encrypted = session_policy.narrowed_prefix(owner, path), not fenced
        options: dict[str, Any] = {"fenced": fenced, "encryption": ENCRYPTION if encrypted else None}
        text = build(access, shared=(folder,), **options)
        also = [MANAGED[1]] if fenced else []
        for action in OBJECT_ACTIONS:
            assert allowed(text, action, object_arn(folder + key), also=also) == (action == "s3:GetObject")
            for outside in (
                f"users/{owner}/{key}",
                folder[:-1],
                f"{folder[:-1]}x/{key}",
                f"users/{owner}x/{path}{key}",
            ):
                if not outside.startswith(folder):
                    assert not allowed(text, action, object_arn(outside), also=also), (action, outside)
            own = session_policy.user_prefix(USER) + key
            # Behind a fence there is no room for own tags besides, where nothing is written.
            alone = build(access, **options)
            dropped = fenced and access == "read" and action == "s3:GetObjectTagging"
            expected = not dropped and allowed(alone, action, object_arn(own), also=also)
            assert allowed(text, action, object_arn(own), also=also) == expected
        for listed, expected in {
            **dict.fromkeys((folder, folder + key, session_policy.user_prefix(USER)), True),
            **dict.fromkeys((f"users/{owner}/", f"users/{owner}", folder[:-1], f"{folder[:-1]}x/", "users/", "", None)),
        }.items():
            actual = allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", also=also, s3_prefix=listed)
            assert actual == bool(expected), listed
        context = {
            "kms:ViaService": ENCRYPTION.via_service,
            "kms:EncryptionContext:aws:s3:arn": object_arn(folder + key),
        }
        assert allowed(text, "kms:Decrypt", KEY, context=context) == encrypted
        assert not allowed(text, "kms:GenerateDataKey", KEY, context=context)
        context["kms:EncryptionContext:aws:s3:arn"] = object_arn(f"{folder[:-1]}x/{key}")
        assert not allowed(text, "kms:Decrypt", KEY, context=context)

    @pytest.mark.parametrize(
        "folder",
        ["", ADA, ADA[:-1], f"{ADA}albums", f"{ADA}a/*/", f"{ADA}a?/", f"{ADA}${{x}}/", f"{ADA}a//", "albums/"],
    )
    def test_is_a_folder_of_a_user(self, folder: str) -> None:
        with pytest.raises(ValueError, match="not a folder"):
            build(shared=(folder,))

    def test_has_room_beside_fence_and_key_where_nothing_is_written(self) -> None:
        assert build("read", shared=SHARED[:1], fenced=True, encryption=ENCRYPTION)

    def test_is_not_written(self) -> None:
        with pytest.raises(ValueError, match="to be read"):
            build("write", shared=SHARED)

    def test_has_only_so_much_room(self) -> None:
        many = tuple(f"{ADA}albums/{number}/" for number in range(12))
        assert build(shared=many[:10])
        with pytest.raises(PolicyTooLarge):
            build(shared=many)

    @given(
        st.sampled_from(["read", "read_write", "read_delete", "filled"]),
        paths,
        st.lists(st.tuples(st.uuids(), paths.filter(bool), st.booleans()), min_size=1, max_size=8),
        st.sampled_from([None, ENCRYPTION, BUCKET_KEYS]),
        st.booleans(),
    )
    def test_takes_the_room_that_is_counted(
        self,
        kind: str,
        path: str,
        shared: list[tuple[uuid.UUID, str, bool]],
        encryption: Encryption | None,
        fenced: bool,
    ) -> None:
        prefix = session_policy.narrowed_prefix(USER, path)
        folders = tuple(session_policy.narrowed_prefix(owner, folder) for owner, folder, _ in shared)
        options: dict[str, Any] = {"encryption": encryption, "fenced": fenced}
        access: Access = "read_write" if kind == "filled" else kind  # type: ignore[assignment]
        may_fill = [kind == "filled" and fills and not is_within_by(path) for _, path, fills in shared]
        options["filled"] = tuple(folder for folder, fills in zip(folders, may_fill, strict=True) if fills)
        bucket = session_policy.Bucket("aws", "photos", encryption=encryption, fenced=fenced)
        room = bucket.room(prefix, access, filled=any(may_fill))
        taken = [room.taken(folder, filled=fills) for folder, fills in zip(folders, may_fill, strict=True)]
        left = room.left - sum(taken)
        if left >= 0:
            text = build(access, prefix, shared=folders, **options)
            # Where there is room for it too, the whole prefix may be listed without its slash.
            bare = fenced * len(f',"users/{USER}"') - 1
            listed = path == "" and bare <= left
            assert len(text) == 2048 - left + listed * bare
            asked = f"users/{USER}"
            assert allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", s3_prefix=asked) == listed
            assert not allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", s3_prefix=folders[0].removesuffix("/"))
        else:
            with pytest.raises(PolicyTooLarge, match=f"has {2048 - left:,} characters"):
                build(access, prefix, shared=folders, **options)


CONTRIBUTES = {"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:DeleteObject"}
fillable = paths.filter(lambda path: path != "" and len(path.encode()) < 30 and not is_within_by(path))


def is_within_by(path: str) -> bool:
    return "by" in unquote(path).lower().split("/") or "by" in path.lower().split("/")


class TestFilled:
    """VC13: a contributor writes in their own part of the folder, and nowhere else in anything of its owner's."""

    @settings(max_examples=25)
    @given(st.uuids(), st.uuids(), fillable, keys, st.sampled_from(["plain", "fenced", "tags", "both"]))
    def test_is_written_in_ones_own_part_alone(
        self, owner: uuid.UUID, other: uuid.UUID, path: str, key: str, kind: str
    ) -> None:
        assume(len({owner, other, USER}) == 3 and not key.startswith(f"by/{USER}/"))
        fenced = kind in ("fenced", "both")
        path = "albums/" if fenced else path  # behind a fence there is room for little more
        folder = session_policy.filled_prefix(owner, path)
        options: dict[str, Any] = {"fenced": fenced, "tags": "write" if kind in ("tags", "both") else "read"}
        text = build("read_write", shared=(folder,), filled=(folder,), **options)
        also = [MANAGED[1]] if fenced else []
        mine = session_policy.contribution_prefix(folder, USER)
        assert mine == f"{folder}by/{USER}/"
        for action in OBJECT_ACTIONS:
            reads = action == "s3:GetObject"
            assert allowed(text, action, object_arn(mine + key), also=also) == (reads or action in CONTRIBUTES), action
            for readable in (
                *(folder + key, f"{folder}by/", f"{folder}by/{USER}", f"{folder}by/{USER}x/{key}", f"{folder}by/{key}"),
                *(f"{folder}by/{other}/{key}", f"{folder}by/{other}/by/{USER}/{key}", f"{folder}{USER}/{key}"),
            ):
                assert allowed(text, action, object_arn(readable), also=also) == reads, (action, readable)
            for outside in (
                *(f"users/{owner}/by/{USER}/{key}", f"users/{owner}/{USER}/{key}", f"{folder[:-1]}x/by/{USER}/{key}"),
                *(f"users/{other}/{path}by/{USER}/{key}", f"by/{USER}/{key}", f"users/{owner}x/{path}by/{USER}/{key}"),
            ):
                if not outside.startswith(folder):
                    assert not allowed(text, action, object_arn(outside), also=also), (action, outside)
        own = session_policy.user_prefix(USER) + key
        for action in ("s3:GetObject", *CONTRIBUTES):
            assert allowed(text, action, object_arn(own), also=also)

    @settings(max_examples=25)
    @given(st.uuids(), st.sampled_from(["a/", "albums/2026/", "a b/c-d/"]), keys)
    def test_is_encrypted_with_the_operators_key(self, owner: uuid.UUID, path: str, key: str) -> None:
        assume(owner != USER)
        folder = session_policy.filled_prefix(owner, path)
        text = build("read_write", shared=(folder,), filled=(folder,), encryption=ENCRYPTION)
        context = {"kms:ViaService": ENCRYPTION.via_service}
        for place, writes in ((f"{folder}by/{USER}/", True), (folder, False), (f"{folder}by/{owner}/", False)):
            context["kms:EncryptionContext:aws:s3:arn"] = object_arn(place + f"x{key}")
            assert allowed(text, "kms:Decrypt", KEY, context=context)
            assert allowed(text, "kms:GenerateDataKey", KEY, context=context) == writes, place

    @pytest.mark.parametrize("access", ["read", "read_delete", "write"])
    def test_needs_the_access_to_read_and_write(self, access: Access) -> None:
        with pytest.raises(ValueError, match=r"with read_write|to be read"):
            build(access, shared=SHARED, filled=SHARED)

    @pytest.mark.parametrize("folder", [f"{ADA}by/", f"{ADA}a/By/b/", f"{ADA}a/b%79/", f"{ADA}other/"])
    def test_is_a_shared_folder_that_is_in_nobodys_part(self, folder: str) -> None:
        with pytest.raises(ValueError, match="only a shared folder is filled"):
            build(shared=SHARED if folder == f"{ADA}other/" else (folder,), filled=(folder,))

    @pytest.mark.parametrize("path", ["by/", "a/by/", "by/a/", "a/BY/b/", "bY/", "%62y/", "a/%42%59/b/", "a%2fby/"])
    def test_no_segment_of_its_path_is_by(self, path: str) -> None:
        """VC13: else one contributor's part would lie within another's, who may delete it."""
        assert session_policy.narrowed_prefix(USER, path)
        with pytest.raises(InvalidPath, match="`by`"):
            session_policy.filled_prefix(USER, path)

    @pytest.mark.parametrize("path", ["bye/", "a/standby/", "b y/", "b/y/", "by.me/"])
    def test_a_segment_that_begins_so_is_another_one(self, path: str) -> None:
        assert session_policy.filled_prefix(USER, path) == session_policy.narrowed_prefix(USER, path)

    def test_leaves_room_in_a_path_for_the_contributors_part(self) -> None:
        longest = "a" * 215 + "/"
        folder = session_policy.filled_prefix(USER, longest)
        assert session_policy.narrowed_prefix(USER, f"{longest}by/{USER}/") == session_policy.contribution_prefix(
            folder, USER
        )
        with pytest.raises(InvalidPath, match="up to 216 bytes"):
            session_policy.filled_prefix(USER, "a" + longest)

    def test_five_have_room_in_one_policy(self) -> None:
        folders = tuple(f"{ADA}albums/{number}/" for number in range(6))
        assert build(shared=folders[:5], filled=folders[:5])
        with pytest.raises(PolicyTooLarge):
            build(shared=folders, filled=folders)


class TestFilledByLink:
    """VC13: somebody without an account writes in their own part of the link's folder. They reach nothing else."""

    @settings(max_examples=25)
    @given(st.uuids(), st.uuids(), fillable, keys, st.booleans())
    def test_is_written_in_ones_own_part_alone(
        self, contributor: uuid.UUID, other: uuid.UUID, path: str, key: str, fenced: bool
    ) -> None:
        assume(len({contributor, other, USER}) == 3 and not key.startswith(f"by/{contributor}/"))
        folder, also = session_policy.filled_prefix(USER, path), [MANAGED[1]] if fenced else []
        text = build("read", folder, by_link=True, contributor_id=contributor, fenced=fenced)
        for action in OBJECT_ACTIONS:
            reads = action == "s3:GetObject"
            mine = object_arn(f"{folder}by/{contributor}/{key}")
            assert allowed(text, action, mine, also=also) == (reads or action in CONTRIBUTES), action
            for readable in (folder + key, f"{folder}by/{other}/{key}", f"{folder}by/{USER}/{key}"):
                assert allowed(text, action, object_arn(readable), also=also) == reads, (action, readable)
            for outside in (f"users/{USER}/by/{contributor}/{key}", f"{folder[:-1]}x/{key}", f"users/{other}/{key}"):
                if not outside.startswith(folder):
                    assert not allowed(text, action, object_arn(outside), also=also), (action, outside)
        for listed in ("", "users/", f"users/{USER}/", folder[:-1], f"users/{contributor}/"):
            actual = allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", also=also, s3_prefix=listed)
            assert not actual, listed
        assert allowed(text, "s3:ListBucket", "arn:aws:s3:::photos", also=also, s3_prefix=folder)

    @pytest.mark.parametrize("encryption", [ENCRYPTION, BUCKET_KEYS])
    def test_is_encrypted_with_the_operators_key(self, encryption: Encryption) -> None:
        text = build("read", SHARED[0], by_link=True, contributor_id=GUEST, encryption=encryption)
        for place, writes in ((f"{SHARED[0]}by/{GUEST}/", True), (SHARED[0], encryption.bucket_keys)):
            arn = "arn:aws:s3:::photos" if encryption.bucket_keys else object_arn(f"{place}a.jpg")
            context = {"kms:ViaService": encryption.via_service, "kms:EncryptionContext:aws:s3:arn": arn}
            assert allowed(text, "kms:Decrypt", KEY, context=context)
            assert allowed(text, "kms:GenerateDataKey", KEY, context=context) == writes

    @pytest.mark.parametrize(
        ("prefix", "by_link"), [(SHARED[0], False), (f"{ADA}by/", True), (f"{ADA}a/By/{GUEST}/", True), (ADA, True)]
    )
    def test_is_the_folder_of_a_link(self, prefix: str, by_link: bool) -> None:
        with pytest.raises(ValueError, match="a link"):
            build("read", prefix, by_link=by_link, contributor_id=GUEST)


class TestEncryption:
    @given(accesses, st.uuids(), paths, keys)
    def test_the_key_is_for_own_objects_through_s3_alone(
        self, access: Access, other: uuid.UUID, path: str, key: str
    ) -> None:
        prefix = session_policy.narrowed_prefix(USER, path)
        try:
            text = build(access, prefix, encryption=ENCRYPTION)
        except PolicyTooLarge:  # a path whose characters are escaped, six for each of UTF-16
            assume(False)
        own = {
            "kms:ViaService": "s3.eu-central-1.amazonaws.com",
            "kms:EncryptionContext:aws:s3:arn": object_arn(prefix + key),
        }
        assert allowed(text, "kms:Decrypt", KEY, context=own)
        assert allowed(text, "kms:GenerateDataKey", KEY, context=own) == (access in ("write", "read_write"))
        wrong = [
            own | {"kms:ViaService": "s3.eu-west-1.amazonaws.com"},
            own | {"kms:EncryptionContext:aws:s3:arn": object_arn(f"users/{other}/{key}")},
            own | {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::photos"},
            {name: value for name, value in own.items() if name != "kms:ViaService"},
            {"kms:ViaService": own["kms:ViaService"]},
            {},
        ]
        for context in wrong:
            assert not allowed(text, "kms:Decrypt", KEY, context=context), context
        for action in ("kms:Encrypt", "kms:ReEncryptFrom", "kms:CreateGrant", "kms:DescribeKey"):
            assert not allowed(text, action, KEY, context=own)
        assert not allowed(text, "kms:Decrypt", KEY[:-1] + "2", context=own)

    def test_with_bucket_keys_the_context_is_the_bucket(self) -> None:
        text = build(encryption=BUCKET_KEYS)
        context = {"kms:ViaService": BUCKET_KEYS.via_service, "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::photos"}
        assert allowed(text, "kms:Decrypt", KEY, context=context)
        foreign = object_arn(f"users/{uuid.uuid4()}/a.jpg")
        assert not allowed(text, "s3:GetObject", foreign, context=context), "the prefix isolates still"

    def test_the_role_may_use_the_key_as_widely_as_any_policy_asks(self) -> None:
        document = json.loads((DEPLOY / "vending-role-permissions-kms.json").read_text())
        (statement,) = document["Statement"]
        assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}
        condition = statement["Condition"]
        assert condition["StringEquals"] == {"kms:ViaService": "s3.REGION.amazonaws.com"}
        contexts = ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/users/*"]  # of the bucket's own keys, and of an object
        assert condition["StringLike"] == {"kms:EncryptionContext:aws:s3:arn": contexts}


class TestSize:
    @pytest.mark.parametrize(("length", "fits"), [(2047, True), (2048, True), (2049, False)])
    def test_2048_characters_are_taken_and_one_more_is_not(self, length: int, fits: bool) -> None:
        spare = length - len(build(prefix=session_policy.user_prefix(USER) + "a/"))
        longer = next(extra for extra in range(3) if (spare - 2 * extra) % 3 == 0)
        # The folder stands three times in a policy, the bucket twice.
        folder, bucket = "a" * (1 + (spare - 2 * longer) // 3) + "/", "photos" + "s" * longer
        prefix = session_policy.user_prefix(USER) + folder
        if fits:
            assert len(build(prefix=prefix, bucket=bucket)) == length
        else:
            with pytest.raises(PolicyTooLarge):
                build(prefix=prefix, bucket=bucket)

    def test_the_prefix_without_its_slash_takes_no_room_from_anything(self) -> None:
        """Where everything else fits to the last characters, that is what is left out."""
        everything: dict[str, Any] = {"fenced": True, "encryption": CHINESE, "tags": "write", "location": True}
        found = []
        for name in ("b" * 43, "b" * 44):
            text = build(bucket=name, partition="aws-cn", **everything)
            bare = allowed(text, "s3:ListBucket", f"arn:aws-cn:s3:::{name}", s3_prefix=f"users/{USER}")
            found.append((len(text), bare))
        assert found == [(2046, True), (2008, False)]

    def test_the_caller_is_told_what_to_narrow_and_sts_is_not_asked(self, service: Service) -> None:
        answer = service.device().vend(path="ä" * 127 + "/")
        assert (answer.status_code, answer.json()["code"]) == (422, "policy_too_large")
        assert "`path`" in answer.json()["detail"]
        assert "2,048" in answer.json()["detail"]
        assert service.sts.assumed == []

    def test_what_sts_packs_it_into_is_a_metric(self, service: Service) -> None:
        service.device().vend()
        metrics = service.client.get("/metrics").text
        assert "tokenvend_packed_policy_size_percent_sum 6.0" in metrics
        assert 'tokenvend_vends_total{source="issued"} 1.0' in metrics


class TestLint:
    def test_parliament_finds_nothing(self, tmp_path: Path) -> None:
        """In a process of its own: it warns of its own dependencies when it is imported."""
        texts = {name: build(**options) for name, options in VARIANTS.items()}
        texts |= {access: build(access) for access in get_args(Access)}
        for file in DEPLOY.glob("vending-role-permissions*.json"):
            texts[file.stem] = (
                file.read_text()
                .replace("BUCKET", "photos")
                .replace("KMS-KEY-ID", "1b2c3d4e-0000-4000-8000-000000000001")
                .replace("ACCOUNT", "123456789012")
                .replace("REGION", "eu-central-1")
            )
        (tmp_path / "policies.json").write_text(json.dumps(texts))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LINT, str(tmp_path / "policies.json")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {name: [] for name in texts} | {"broken": ["UNKNOWN_ACTION"]}


LINT = """
import json, sys
from parliament import analyze_policy_string
texts = json.load(open(sys.argv[1]))
texts["broken"] = texts["read"].replace('"s3:GetObject"', '"s3:GetObjekt"')
print(json.dumps({name: [f.issue for f in analyze_policy_string(text).findings] for name, text in texts.items()}))
"""
