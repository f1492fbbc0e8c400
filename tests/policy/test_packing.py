"""What one process remembers of policies that STS found too large."""

import uuid
from dataclasses import replace

import pytest

from app.policy import packing
from app.policy.packing import Beside, Packing
from app.policy.session_policy import Room, Share

USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
WRITING = Beside(USER, "read_write", f"users/{USER}/a/long/path/")
READING = Beside(USER, "read", f"users/{USER}/")
OTHER = Beside(uuid.uuid4(), "read_write", f"users/{USER}/a/long/path/")
ROOMY = Room(left=1000, each=10, times=2)


def shares(*lengths: int) -> list[Share]:
    return [Share(uuid.uuid4(), "x" * length, None) for length in lengths]


def sizes(parts: list[tuple[Share, ...]]) -> list[int]:
    return [len(part) for part in parts]


def test_parts_are_filled_in_order_to_the_last_character() -> None:
    folders = shares(245, 245, 1, 496, 495, 245)  # each takes 10 and twice its name
    parts, too_large = Packing().pack(READING, folders, ROOMY)
    assert parts == [tuple(folders[:2]), (folders[2],), (folders[4],), (folders[5],)]
    assert too_large == [folders[3]]


def filling(*lengths: int) -> list[Share]:
    return [replace(share, contributes=True) for share in shares(*lengths)]


def test_a_part_with_a_folder_that_is_filled_has_the_room_of_its_kind() -> None:
    """Folders that are only read are counted anew there, because the policy says more about them."""
    filled_room = Room(left=900, each=20, times=2, each_filled=5, times_filled=1)
    read, filled = shares(90, 90, 90, 90, 90), filling(90)  # 190 each; in the other kind 200, and the filled one 295
    for folders, expected in (
        (read, [5]),
        ([*read[:3], *filled, *read[3:]], [4, 2]),  # 3 * 200 + 295 = 895
        ([*filled, *read], [4, 2]),
        ([*read[:4], *filled], [4, 1]),
    ):
        assert sizes(Packing().pack(WRITING, folders, ROOMY, filled_room)[0]) == expected
    only_read, too_long = shares(450), filling(300)  # 925 with the part of its own
    parts, too_large = Packing().pack(WRITING, [*only_read, *too_long], ROOMY, filled_room)
    assert (parts, too_large) == ([tuple(only_read)], too_long)


def test_without_shares_there_is_one_empty_part() -> None:
    assert Packing().pack(READING, [], ROOMY) == ([()], [])


def test_what_was_refused_is_so_beside_the_same_alone() -> None:
    memory, folders = Packing(), shares(5, 5, 5, 5)
    memory.note_refused(WRITING, folders)
    memory.note_refused(WRITING, folders[:1])
    parts, too_large = memory.pack(WRITING, folders, ROOMY)
    assert (sizes(parts), too_large) == ([2, 1], folders[:1])
    for beside in (READING, OTHER):
        parts, too_large = memory.pack(beside, folders, ROOMY)
        assert (sizes(parts), too_large) == ([4], [])


def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_REMEMBERED", 2)
    memory, folders = Packing(), shares(5, 5, 5)
    for share in folders:
        memory.note_refused(READING, [share])
    assert memory.pack(READING, folders, ROOMY)[1] == folders[1:]
    for beside in (WRITING, OTHER, READING):
        memory.note_refused(beside, folders)
    assert sizes(memory.pack(WRITING, folders, ROOMY)[0]) == [3]
