"""A folder that others fill, on the embedded engine: what a contributor reaches, and what its owner may do."""

from tests.journeys.deployment import Deployment
from tests.journeys.filled_folder import (
    check_owner,
    check_reach,
    check_reach_by_link,
    check_withdrawn,
    filled_folder,
)


def test_is_filled_in_ones_own_part_and_nothing_else_is_touched(on_this_machine: Deployment) -> None:
    with filled_folder(on_this_machine) as filled:
        check_reach(filled)
        check_owner(filled)
        check_withdrawn(filled)


def test_is_filled_by_a_link_and_nothing_else_is_touched(on_this_machine: Deployment) -> None:
    with filled_folder(on_this_machine) as filled:
        check_reach_by_link(filled)


def test_another_case_is_the_same_part_there(on_this_machine: Deployment) -> None:
    """AWS and Ceph answer 403: SeaweedFS' policies ignore case, as docs/app/sharing.md says. It is Ada's still."""
    with filled_folder(on_this_machine) as filled:
        keys, twin = filled.ada.keys(include_shared=True), filled.mine.replace("/by/", "/BY/")
        assert on_this_machine.send(keys, "PUT", f"/{on_this_machine.bucket}/{twin}a.jpg", body=b"mine").status == 200
        other = twin.replace(filled.ada.id, filled.eve.id)
        assert on_this_machine.send(keys, "PUT", f"/{on_this_machine.bucket}/{other}a.jpg", body=b"x").status == 403
        on_this_machine.as_owner.delete_object(Bucket=on_this_machine.bucket, Key=f"{twin}a.jpg")
