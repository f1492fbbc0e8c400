"""A shared folder on the embedded engine: what its grantee reaches, and what a withdrawal does there."""

from tests.journeys.deployment import Deployment, keys_of
from tests.journeys.shared_folder import FOLDER, OPEN, check_reach, get, shared_folder


def test_is_read_and_nothing_else_is_reached(on_this_machine: Deployment, flower: bytes) -> None:
    with shared_folder(on_this_machine, flower) as shared:
        check_reach(shared)
        kept = shared.ada.vend(include_shared=True)
        assert shared.bob.http.delete(f"/v1/grants/{shared.grant_id}").status_code == 202
        after = shared.ada.vend(include_shared=True)
        assert after["shared_prefixes"] == []
        key = shared.bob.prefix + OPEN[0]
        assert get(on_this_machine, keys_of(after), key) == 403
        # SeaweedFS cannot be told: as docs/app/sharing.md says, what was vended before reads until it expires.
        assert get(on_this_machine, keys_of(kept), key) == 200


def test_another_case_is_the_same_folder_there(on_this_machine: Deployment, flower: bytes) -> None:
    """AWS and Ceph answer 403: SeaweedFS' policies ignore case, as docs/app/sharing.md says."""
    with shared_folder(on_this_machine, flower) as shared:
        key = f"{shared.bob.prefix}{FOLDER.upper()}twin.jpg"
        on_this_machine.as_owner.put_object(Bucket=on_this_machine.bucket, Key=key, Body=b"a twin")
        assert get(on_this_machine, shared.ada.keys(include_shared=True), key) == 200
        assert get(on_this_machine, shared.ada.keys(), key) == 403
