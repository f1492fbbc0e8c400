"""What a vended credential reaches on a real engine, request by request: its own prefix, and nothing else.

SeaweedFS answers some requests otherwise than AWS does; such rows say what AWS answers. None of them opens anything of
another user's.
"""

import re

import pytest

from tests.journeys.scene import ELSEWHERE, Row, Scene, answered, denied, matrix

pytestmark = [pytest.mark.usefixtures("left_alone"), pytest.mark.sampled(1)]


@matrix(
    answered("get", "GET /{own}/photo.jpg", 200),
    answered("head", "HEAD /{own}/photo.jpg", 200),
    answered("range", "GET /{own}/photo.jpg", 206, Range="bytes=0-9"),
    answered("put", "PUT /{own}/new.jpg", 200, body="mine"),
    answered("delete", "DELETE /{own}/new.jpg", 204),
    answered("get_absent", "GET /{own}/absent.jpg", 404, "NoSuchKey"),
    answered("get_tags", "GET /{own}/photo.jpg?tagging", 200),
    answered("list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F", 200),
    answered("list_v1", "GET /{bucket}?prefix=users%2F{ada}%2F", 200),
    answered("list_folder", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2Falbums%2F&delimiter=%2F", 200),
    answered("copy_within", "PUT /{own}/copy.jpg", 200, x_amz_copy_source="/{own}/photo.jpg"),
    answered("start_upload", "POST /{own}/large.jpg?uploads", 200),
    answered("upload_part", "PUT /{own}/open.jpg?partNumber=1&uploadId={own_upload}", 200, body="the first part"),
    answered("list_parts", "GET /{own}/open.jpg?uploadId={own_upload}", 200),
)
def test_own(scene: Scene, row: Row) -> None:
    scene.check(row)


@matrix(
    denied("get", "GET /{foreign}/photo.jpg"),
    denied("head", "HEAD /{foreign}/photo.jpg"),
    denied("range", "GET /{foreign}/photo.jpg", Range="bytes=0-9"),
    denied("if_none_match", "GET /{foreign}/photo.jpg", If_None_Match="*"),
    denied("get_absent", "GET /{foreign}/absent.jpg"),
    denied("get_folder", "GET /{foreign}/"),
    denied("put_new", "PUT /{foreign}/new.jpg", body="intruder"),
    denied("put_over", "PUT /{foreign}/photo.jpg", body="intruder"),
    denied("put_folder", "PUT /{foreign}/folder/"),
    denied("delete", "DELETE /{foreign}/photo.jpg"),
    denied("delete_absent", "DELETE /{foreign}/absent.jpg"),
    denied("get_version", "GET /{foreign}/photo.jpg?versionId=null"),
    denied("delete_version", "DELETE /{foreign}/photo.jpg?versionId=null"),
    denied("get_acl", "GET /{foreign}/photo.jpg?acl"),
    denied("put_acl", "PUT /{foreign}/photo.jpg?acl", x_amz_acl="public-read"),
    denied("get_tags", "GET /{foreign}/photo.jpg?tagging"),
    denied("put_tags", "PUT /{foreign}/photo.jpg?tagging", body="<Tagging><TagSet/></Tagging>"),
    denied("delete_tags", "DELETE /{foreign}/photo.jpg?tagging"),
    denied("get_attributes", "GET /{foreign}/photo.jpg?attributes", x_amz_object_attributes="ETag"),
    denied("get_retention", "GET /{foreign}/photo.jpg?retention"),
    denied("get_torrent", "GET /{foreign}/photo.jpg?torrent"),
    answered("post_to_it", "POST /{foreign}/photo.jpg", 405, "MethodNotAllowed", body="intruder"),
    denied("of_nobody", "PUT /{bucket}/users/00000000-0000-4000-8000-000000000000/x.jpg", body="intruder"),
    denied("root", "GET /{bucket}/photo.jpg"),
    denied("put_root", "PUT /{bucket}/new.jpg", body="intruder"),
    denied("users", "GET /{bucket}/users/photo.jpg"),
    denied("put_users", "PUT /{bucket}/users/new.jpg", body="intruder"),
    denied("other_bucket", f"GET /{ELSEWHERE}/users/{{ada}}/photo.jpg"),
    denied("put_other_bucket", f"PUT /{ELSEWHERE}/users/{{ada}}/new.jpg", body="intruder"),
)
def test_foreign(scene: Scene, row: Row) -> None:
    scene.check(row)


@matrix(
    denied("longer_get", "GET /{longer}/photo.jpg"),
    denied("longer_put", "PUT /{longer}/photo.jpg", body="intruder"),
    denied("longer_delete", "DELETE /{longer}/photo.jpg"),
    denied("longer_list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}b%2F"),
    denied("shorter_get", "GET /{shorter}/photo.jpg"),
    denied("shorter_put", "PUT /{shorter}/photo.jpg", body="intruder"),
    denied("id_alone_get", "GET /{own}"),
    denied("id_alone_put", "PUT /{own}", body="intruder"),
    denied("id_and_more", "PUT /{own}.jpg", body="intruder"),
    denied("upper_case_foreign_get", "GET /{bucket}/users/{BOB}/photo.jpg"),
    denied("upper_case_foreign_put", "PUT /{bucket}/users/{BOB}/photo.jpg", body="intruder"),
    denied("upper_case_users_foreign", "GET /{bucket}/USERS/{bob}/photo.jpg"),
    answered("upper_case_bucket", "GET /PHOTOS/users/{ada}/photo.jpg", 404, "NoSuchBucket"),
)
def test_twins(scene: Scene, row: Row) -> None:
    """VC2: `…a` against `…ab`, and other spellings."""
    scene.check(row)


LITERAL = "404 NoSuchKey, 200 or 204: dots are part of the name, which begins with the own prefix"


@matrix(
    answered("dots", "GET /{own}/../{bob}/photo.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("dots_put", "PUT /{own}/../{bob}/new.jpg", 400, "InvalidRequest", body="intruder", aws=LITERAL),
    answered("dots_delete", "DELETE /{own}/../{bob}/photo.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("dots_from_above", "GET /{own}/../../users/{bob}/photo.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("encoded_dots", "GET /{own}/%2e%2e/{bob}/photo.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered(
        "encoded_dots_put", "PUT /{own}/%2E%2E/{bob}/new.jpg", 400, "InvalidRequest", body="intruder", aws=LITERAL
    ),
    answered("encoded_slash", "GET /{own}/..%2F{bob}%2Fphoto.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("all_encoded", "GET /{own}%2F..%2F{bob}%2Fphoto.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("backslash", "GET /{own}/..%5C{bob}%5Cphoto.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("nul", "GET /{own}/%00/../../{bob}/photo.jpg", 400, "InvalidRequest", aws=LITERAL),
    answered("one_dot", "GET /{own}/./photo.jpg", 400, "InvalidRequest", aws="404 NoSuchKey"),
    answered("encoded_twice", "GET /{own}/%252e%252e/{bob}/photo.jpg", 404, "NoSuchKey"),
    answered("encoded_twice_delete", "DELETE /{own}/%252e%252e/{bob}/photo.jpg", 204),
    denied("double_slash", "GET /{bucket}/users//{bob}/photo.jpg"),
    denied("double_slash_first", "GET /{bucket}//users/{bob}/photo.jpg"),
    denied("double_slash_put", "PUT /{bucket}/users//{bob}/new.jpg", body="intruder"),
    answered("double_slash_before_all", "GET //{foreign}/photo.jpg", 405, "MethodNotAllowed", aws="403 AccessDenied"),
    answered("double_slash_in_own", "GET /{own}//photo.jpg", 200, aws="404 NoSuchKey: a slash is part of the name"),
    answered("folder_of_own", "GET /{own}/", 200, aws="404 NoSuchKey: there are no folders"),
    denied("star", "GET /{bucket}/users/%2A/photo.jpg"),
    denied("question_mark", "GET /{bucket}/users/%3F/photo.jpg"),
    denied("variable", "PUT /{bucket}/users/%24%7Baws%3Ausername%7D/x.jpg", body="intruder"),
)
def test_paths(scene: Scene, row: Row) -> None:
    """`..` and its disguises never lead from the own prefix to another's."""
    scene.check(row)


@matrix(
    denied("all", "GET /{bucket}?list-type=2"),
    denied("all_v1", "GET /{bucket}"),
    denied("empty_prefix", "GET /{bucket}?list-type=2&prefix="),
    denied("users", "GET /{bucket}?list-type=2&prefix=users%2F"),
    denied("users_without_slash", "GET /{bucket}?list-type=2&prefix=users"),
    denied("foreign_id_without_slash", "GET /{bucket}?list-type=2&prefix=users%2F{bob}"),
    denied("longer_without_slash", "GET /{bucket}?list-type=2&prefix=users%2F{ada}b"),
    denied("shorter_without_slash", "GET /{bucket}?list-type=2&prefix=users%2F{ada:.35}"),
    denied("own_upper_case_without_slash", "GET /{bucket}?list-type=2&prefix=users%2F{ADA}"),
    denied("foreign", "GET /{bucket}?list-type=2&prefix=users%2F{bob}%2F"),
    denied("foreign_v1", "GET /{bucket}?prefix=users%2F{bob}%2F"),
    denied("foreign_folder", "GET /{bucket}?list-type=2&prefix=users%2F{bob}%2Falbums%2F"),
    denied("foreign_upper_case", "GET /{bucket}?list-type=2&prefix=users%2F{BOB}%2F"),
    denied("own_upper_case", "GET /{bucket}?list-type=2&prefix=users%2F{ADA}%2F"),
    denied("delimiter", "GET /{bucket}?list-type=2&delimiter=%2F"),
    denied("users_by_delimiter", "GET /{bucket}?list-type=2&prefix=users%2F&delimiter=%2F"),
    denied("odd_delimiter", "GET /{bucket}?list-type=2&prefix=users%2F&delimiter={ada}"),
    denied("prefix_twice", "GET /{bucket}?list-type=2&prefix=users%2F{bob}%2F&prefix=users%2F{ada}%2F"),
    denied("leading_slash", "GET /{bucket}?list-type=2&prefix=%2Fusers%2F{ada}%2F"),
    denied("versions", "GET /{bucket}?versions&prefix=users%2F{ada}%2F"),
    denied("uploads", "GET /{bucket}?uploads"),
    denied("uploads_foreign", "GET /{bucket}?uploads&prefix=users%2F{bob}%2F"),
    denied("other_bucket", f"GET /{ELSEWHERE}?list-type=2&prefix=users%2F{{ada}}%2F"),
    answered("dots", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F..%2F{bob}%2F", 200),
    answered("own_then_foreign", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F&prefix=users%2F{bob}%2F", 200),
    answered("start_after", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F&start-after=users%2F{bob}%2F", 200),
    answered("start_at_0", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F&start-after=users%2F0", 200),
    answered("marker", "GET /{bucket}?prefix=users%2F{ada}%2F&marker=users%2F{bob}%2F", 200),
)
def test_lists(scene: Scene, row: Row) -> None:
    """Only under the own prefix; where a trick gets an answer, nothing foreign is in it."""
    answer = scene.check(row)
    for foreign in (scene.bob.id, f"{scene.ada.id}b"):
        assert f"<Key>users/{foreign}".encode() not in answer.body


WITHOUT_SLASH = [
    answered("id_without_slash", "GET /{bucket}?list-type=2&prefix=users%2F{ada}", 200),
    answered("id_without_slash_v1", "GET /{bucket}?prefix=users%2F{ada}", 200),
    answered("odd_delimiter", "GET /{bucket}?list-type=2&prefix=users%2F{ada}&delimiter={ada}", 200),
]


class TestWithoutSlash:
    """Many clients leave the slash out. Beside Ada stands a user whose id has another last digit."""

    @matrix(*WITHOUT_SLASH)
    @pytest.mark.parametrize("access", ["read", "read_write", "read_delete"])
    def test_the_whole_own_prefix_is_listed_and_nobody_elses(self, scene: Scene, access: str, row: Row) -> None:
        """VC2: every id has 36 characters. Of a longer name there are no users, only what an operator puts there."""
        answer = scene.check(row, scene.keys(access=access))
        keys = re.findall("<Key>([^<]+)</Key>", answer.body.decode())
        foreign = {key for key in keys if not key.startswith(scene.ada.prefix)}
        assert foreign == {f"users/{scene.ada.id}b/photo.jpg"}
        assert f"{scene.ada.prefix}photo.jpg" in keys

    @pytest.mark.parametrize(
        ("wish", "prefix"),
        [
            ({"access": "write"}, "users%2F{ada}"),
            ({"path": "albums/"}, "users%2F{ada}"),
            ({"path": "albums/"}, "users%2F{ada}%2Falbums"),
            ({"path": "albums/2026/"}, "users%2F{ada}%2Falbums%2F2026"),
            ({}, "users%2F{twin}"),
            ({}, "users%2F{twin}%2F"),
        ],
    )
    def test_nothing_else_is(self, scene: Scene, wish: dict[str, str], prefix: str) -> None:
        scene.check(denied("list", f"GET /{{bucket}}?list-type=2&prefix={prefix}"), scene.keys(**wish))


@matrix(
    answered("list_buckets", "GET /", 200, aws="403 AccessDenied"),
    denied("head_bucket", "HEAD /{bucket}"),
    denied("delete_bucket", "DELETE /{bucket}"),
    denied("create_bucket", "PUT /mine-alone"),
    denied("get_policy", "GET /{bucket}?policy"),
    denied("put_policy", "PUT /{bucket}?policy", body='{{"Version":"2012-10-17","Statement":[]}}'),
    denied("delete_policy", "DELETE /{bucket}?policy"),
    denied("get_cors", "GET /{bucket}?cors"),
    denied("put_cors", "PUT /{bucket}?cors", body="<CORSConfiguration/>"),
    denied("delete_cors", "DELETE /{bucket}?cors"),
    denied("get_versioning", "GET /{bucket}?versioning"),
    denied("put_versioning", "PUT /{bucket}?versioning", body="<VersioningConfiguration/>"),
    denied("get_acl", "GET /{bucket}?acl"),
    denied("put_acl", "PUT /{bucket}?acl", x_amz_acl="public-read-write"),
    denied("location", "GET /{bucket}?location"),
    denied("get_lifecycle", "GET /{bucket}?lifecycle"),
    denied("put_lifecycle", "PUT /{bucket}?lifecycle", body="<LifecycleConfiguration/>"),
    denied("get_encryption", "GET /{bucket}?encryption"),
    denied("public_access", "GET /{bucket}?publicAccessBlock"),
    denied("form_upload", "POST /{bucket}", body="--x--", Content_Type="multipart/form-data; boundary=x"),
)
def test_bucket_administration(scene: Scene, row: Row) -> None:
    assert b"<Bucket>" not in scene.check(row).body


@matrix(
    denied("get_acl", "GET /{own}/photo.jpg?acl"),
    denied("put_acl", "PUT /{own}/photo.jpg?acl", x_amz_acl="public-read"),
    denied("put_tags", "PUT /{own}/photo.jpg?tagging", body="<Tagging><TagSet/></Tagging>"),
    denied("delete_tags", "DELETE /{own}/photo.jpg?tagging"),
    denied("get_version", "GET /{own}/photo.jpg?versionId=null"),
    denied("delete_version", "DELETE /{own}/photo.jpg?versionId=null"),
    denied("get_attributes", "GET /{own}/photo.jpg?attributes", x_amz_object_attributes="ETag"),
)
def test_own_objects_beyond_what_was_granted(scene: Scene, row: Row) -> None:
    scene.check(row)


class TestEngine:
    """Where SeaweedFS lets more pass than IAM would, and why nobody is the worse for it."""

    def test_resources_match_whatever_their_case(self, scene: Scene) -> None:
        """AWS answers 403. Ids are random and lower case only, so another spelling of a prefix is never somebody's."""
        deployment, key = scene.deployment, f"users/{scene.ada.id.upper()}/photo.jpg"
        try:
            put = deployment.send(scene.keys(), "PUT", f"/{deployment.bucket}/{key}", body=b"mine")
            assert put.status == 200
        finally:
            deployment.as_owner.delete_object(Bucket=deployment.bucket, Key=key)

    def test_a_public_acl_publishes_nothing(self, scene: Scene) -> None:
        """AWS answers 403: it takes s3:PutObjectAcl. SeaweedFS takes the header and drops it."""
        deployment, target = scene.deployment, f"/{scene.names['own']}/public.jpg"
        for header in (
            {"x-amz-acl": "public-read"},
            {"x-amz-grant-read": "uri=http://acs.amazonaws.com/groups/global/AllUsers"},
        ):
            assert deployment.send(scene.keys(), "PUT", target, body=b"mine", headers=header).status == 200
            assert deployment.send(None, "GET", target).code == "AccessDenied"
            assert deployment.send(scene.bob.keys(), "GET", target).code == "AccessDenied"
