"""A link on the embedded engine: what whoever has it reaches, and nothing beside it."""

from tests.journeys.deployment import Deployment, keys_of
from tests.journeys.shared_folder import FOLDER, READS, REFUSED, TRICKS, shared_folder


def test_opens_its_folder_and_nothing_else(on_this_machine: Deployment, flower: bytes) -> None:
    """VC13"""
    with shared_folder(on_this_machine, flower) as shared:
        link = shared.bob.http.post("/v1/links", json={"path": FOLDER}).json()
        secret = link["url"].partition("#")[2]
        viewer = {"headers": {"Authorization": ""}, "json": {"secret": secret}}
        opened = shared.ada.http.post("/v1/links/open", **viewer)
        assert opened.status_code == 200, opened.text
        keys, before = keys_of(opened.json()["credentials"]), shared.look()
        for request, status in READS.items():
            assert shared.send(keys, request).status == status, request
        for request in REFUSED:
            assert shared.send(keys, request).status == 403, request
        for request in TRICKS:
            shared.send(keys, request)
        for own in (f"users/{shared.ada.id}/x.jpg", "x.jpg"):
            assert shared.send(keys, f"PUT {own}").status == 403
        assert shared.look() == before
        assert shared.bob.http.delete(f"/v1/links/{link['link_id']}").status_code == 202
        assert shared.ada.http.post("/v1/links/open", **viewer).json()["code"] == "link_not_found"
