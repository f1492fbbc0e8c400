"""What each client does at a person's home, and what came of it: an outcome, which the page tells."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from tests.clients.driving import Driver, Failed
from tests.clients.home import Home
from tests.clients.tools import Tool
from tests.journeys.deployment import keys_of, person

SIZES = {"beach.jpg": 5_000, "film.mov": 20_000_000}
"""Bytes. Clients that have uploads in parts send the film so."""
LIFE = 4.0
"""Seconds that a credential has, as far as the client knows, where it is to renew it."""
RENEWED_WITHIN = 40.0
LONGEST = 200
YES, RENEWS, WORKS = "yes", "renews", "works"


@dataclass
class Outcome:
    version: str
    acts: dict[str, str] = field(default_factory=dict)
    """By act: `yes`, or what the client says."""
    ways: dict[str, str] = field(default_factory=dict)
    """By way to get keys: `renews`, `works`, or what the client says."""
    foreign: str = YES
    """What it says where it reads another user's object."""
    signed_out: dict[str, str] = field(default_factory=dict)
    """What it says where it starts after the session has ended, by way to get keys."""

    def fails(self) -> set[str]:
        return {act for act, came in self.acts.items() if came != YES}

    def works(self) -> set[str]:
        return {way for way, came in self.ways.items() if came in {RENEWS, WORKS}}

    def renews(self) -> set[str]:
        return {way for way, came in self.ways.items() if came == RENEWS}


class Stage:
    """One client at one home. What it claims to have done is looked at with boto3 and keys of its own."""

    def __init__(self, tool: Tool, home: Home) -> None:
        self._tool, self._home = tool, home
        self._starts = tool.install()
        self._bytes = {name: _bytes(size) for name, size in SIZES.items()}
        for name, content in self._bytes.items():
            (home.terminal.home / name).write_bytes(content)
        self._kept = self._key("beach.jpg")
        self._s3 = home.deployment.s3(keys_of(home.vended))

    def play(self, *, ways: bool = True) -> Outcome:
        """The session is over afterwards."""
        with closing(self._start(self._tool.ways[0])) as driver:
            outcome = Outcome(driver.version)
            for act in ("small", "large", "list", "down", "rename", "delete"):
                if act not in self._tool.has_no:
                    outcome.acts[act] = self._came_of(getattr(self, f"_{act}"), driver)
            outcome.foreign = self._came_of(self._foreign, driver)
        if ways:
            outcome.ways = {way: self._came_of(self._renew, way) for way in self._tool.tried}
        self._home.sign_out()
        asking = [way for way in self._tool.ways if way != "static"]
        outcome.signed_out = {way: self._came_of(self._look, way) for way in asking or self._tool.ways}
        return outcome

    def _came_of(self, attempt: Callable[..., str | None], subject: Driver | str) -> str:
        try:
            return attempt(subject) or YES
        except Failed as failure:
            return self._told(str(failure))

    def _small(self, driver: Driver) -> None:
        self._up(driver, "beach.jpg")

    def _large(self, driver: Driver) -> None:
        self._up(driver, "film.mov")

    def _up(self, driver: Driver, name: str) -> None:
        driver.act("up", str(self._home.terminal.home / name), self._key(name))
        stored, form = self._stored(self._key(name)) or b"", self._tool.stores
        if not (stored.startswith(form) if form else stored == self._bytes[name]):
            raise Failed("other bytes are stored")

    def _list(self, driver: Driver) -> None:
        names = driver.act("names", self._home.prefix)
        if not all(name in str(names) for name in SIZES):
            raise Failed(f"it lists {names}")

    def _down(self, driver: Driver) -> None:
        for name, content in self._bytes.items():
            file = self._home.terminal.home / f"got-{name}"
            driver.act("down", self._key(name), str(file))
            if not file.exists() or file.read_bytes() != content:
                raise Failed("it wrote no file, or other bytes")

    def _rename(self, driver: Driver) -> None:
        driver.act("move", self._kept, self._key("renamed.jpg"))
        if self._stored(self._kept) is not None or self._stored(self._key("renamed.jpg")) != self._bytes["beach.jpg"]:
            raise Failed("it is not moved")
        self._kept = self._key("renamed.jpg")

    def _delete(self, driver: Driver) -> None:
        driver.act("remove", self._kept)
        if self._stored(self._kept) is not None:
            raise Failed("it is still there")

    def _foreign(self, driver: Driver) -> None:
        """Reads and overwrites another user's: `Failed` as it should be, of the reading."""
        deployment = self._home.deployment
        with person(deployment) as other:
            s3, place = deployment.s3(other.keys()), {"Bucket": deployment.bucket, "Key": f"{other.prefix}beach.jpg"}
            s3.put_object(**place, Body=b"another's")
            try:
                driver.act("up", str(self._home.terminal.home / "beach.jpg"), place["Key"])
            except Failed:
                if s3.get_object(**place)["Body"].read() == b"another's":
                    driver.act("down", place["Key"], str(self._home.terminal.home / "got-foreign"))

    def _renew(self, way: str) -> str:
        near = self._home.near
        near.life = None if way == "static" else LIFE + self._tool.early
        try:
            with closing(self._start(way)) as driver:
                driver.act("names", self._home.prefix)
                if way == "static":
                    return WORKS
                asked, deadline = near.vends, time.monotonic() + (RENEWED_WITHIN if self._tool.renews else 2 * LIFE)
                while near.vends == asked and time.monotonic() < deadline:
                    time.sleep(0.3)
                    driver.act("names", self._home.prefix)
                return RENEWS if near.vends > asked else WORKS
        finally:
            near.life = None

    def _look(self, way: str) -> None:
        with closing(self._start(way)) as driver:
            driver.act("names", self._home.prefix)

    def _start(self, way: str) -> Driver:
        return self._home.start(self._starts, way)

    def _key(self, name: str) -> str:
        return f"{self._home.prefix}album 1/{name}"

    def _stored(self, key: str) -> bytes | None:
        try:
            stored: bytes = self._s3.get_object(Bucket=self._home.deployment.bucket, Key=key)["Body"].read()
        except ClientError:  # Ceph says 403 of what is not there
            return None
        return stored

    def _told(self, message: str) -> str:
        """The first line, without what differs from run to run."""
        home, near = self._home, self._home.near.url
        text = re.sub(r"\x1b\[[\d;]*m", "", message)
        for found, instead in {
            home.deployment.endpoint_url: "S3",
            home.deployment.endpoint_url.removeprefix("http://"): "S3",
            near: "TOKENVEND",
            near.removeprefix("http://"): "TOKENVEND",
            str(home.terminal.home): "~",
            home.terminal.store.get().email: "EMAIL",
        }.items():
            text = text.replace(found, instead)
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "…", text)
        text = re.sub(r"\b\d{4}[-/]\d\d[-/]\d\d[T ][\d:.]+Z?\s*", "", text)
        text = re.sub(r"(?i)((?:request|host)[ _]?id:?) *\"?[\w+/=-]+\"?", r"\1 …", text)
        text = re.sub(r" in [\d.]+(?:µs|ms|s)\b", "", text)
        line = next((line.strip() for line in text.splitlines() if line.strip()), "nothing")
        return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _bytes(size: int) -> bytes:
    """As if compressed: no engine or client finds anything to shrink."""
    piece = bytes((number * number + number // 7) % 251 for number in range(65_521))
    return (piece * (size // len(piece) + 1))[:size]
