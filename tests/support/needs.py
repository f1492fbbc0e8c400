"""The programs that some tests want and a machine may lack. A test that wants one says so in the words of one table."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEBIAN_POSTGRESQL = Path("/usr/lib/postgresql/15/bin")
"""It has pg_trgm, and can be a standby; the PostgreSQL of the wheel has neither."""


@dataclass(frozen=True)
class Need:
    name: str
    programs: dict[str, str]
    """Each by the Debian package that has it."""
    instead: tuple[str, ...] = ()
    """Programs that do as well: one is enough."""
    is_for_long: bool = False
    """Whether only `make test-long` wants it."""

    def missing(self) -> list[str]:
        """The Debian packages to install."""
        if any(map(shutil.which, self.instead)):
            return []
        return sorted({package for program, package in self.programs.items() if shutil.which(program) is None})


NEEDS = {
    "chromium": Need("Chromium", {"chromium": "chromium"}, BROWSERS),
    "ceph": Need(
        "Ceph",
        {
            "ceph-mon": "ceph-mon",
            "ceph-osd": "ceph-osd",
            "monmaptool": "ceph-base",
            "osdmaptool": "ceph-base",
            "radosgw": "radosgw",
            "radosgw-admin": "ceph-common",
            "setpriv": "util-linux",
        },
    ),
    "redis": Need("Redis", {"redis-server": "redis-server", "setpriv": "util-linux"}),
    "postgresql": Need("Debian's PostgreSQL 15", {str(DEBIAN_POSTGRESQL / "postgres"): "postgresql-15"}),
    "pgbouncer": Need("PgBouncer", {"pgbouncer": "pgbouncer", "setpriv": "util-linux"}),
    "haproxy": Need("HAProxy", {"haproxy": "haproxy"}),
    "npm": Need("Node with npm", {"npm": "npm", "node": "npm"}),
    "fuse": Need("FUSE", {"fusermount3": "fuse3"}, is_for_long=True),
    "restic": Need("restic", {"restic": "restic"}),
    "rclone": Need("rclone", {"rclone": "rclone"}),
    "go": Need("Go", {"go": "golang-go"}),
    "cargo": Need("Rust", {"cargo": "cargo"}, is_for_long=True),
    "maven": Need("Maven with a JDK", {"mvn": "maven", "javac": "default-jdk-headless"}),
    "java": Need("Java", {"java": "default-jre-headless"}),
    "php": Need("PHP", {"php": "php-cli"}, is_for_long=True),
    "ruby": Need("Ruby with bcrypt", {"ruby": "ruby-bcrypt"}, is_for_long=True),
    "apt-get": Need("Debian's apt", {"apt-get": "apt", "dpkg-deb": "dpkg"}, is_for_long=True),
    "bash": Need("bash", {"bash": "bash"}),
    "dash": Need("dash", {"dash": "dash"}),
    "sh": Need("sh", {"sh": "dash"}),
    "fish": Need("fish", {"fish": "fish"}),
}


def need(name: str) -> None:
    """Skips the test where the machine lacks it."""
    if packages := NEEDS[name].missing():
        pytest.skip(f"{NEEDS[name].name} is missing: apt-get install {' '.join(packages)}, or your system's like")


def lacking() -> list[Need]:
    """What this machine would skip tests of `make test-all` for."""
    return [one for one in NEEDS.values() if one.missing() and not one.is_for_long]
