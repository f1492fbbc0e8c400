"""The table of clients: what each needs, and what it cannot do. The run holds it to that, and says so on the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.clients import installs
from tests.clients.driving import Commands, Lines, Program, Starts

HERE = Path(__file__).parent
CEPH, MINIO = "Ceph 16", "MinIO"
SDK_WAYS = ("process", "file", "agent", "static")


@dataclass(frozen=True)
class Tool:
    name: str
    install: Callable[[], Starts]
    """Skips the test where the machine lacks what it is made with."""
    must: str
    """What must be set, beside keys, Region and endpoint."""
    ways: tuple[str, ...] = SDK_WAYS
    """Those of `home.WAYS` that give it keys; the acts have them by the first."""
    cannot: frozenset[str] = frozenset()
    """Acts that fail."""
    elsewhere: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The same by engine, where it is another on that one."""
    has_no: frozenset[str] = frozenset()
    """Acts for which it has no call or command."""
    renews: bool = True
    """Whether it asks for keys again by itself when those that it has are about to end."""
    early: float = 0
    """So many seconds before their end it takes keys for ended."""
    stores: bytes = b""
    """What its objects begin with, where it puts a file into a form of its own."""
    note: str = ""
    """A sentence on the page."""
    is_quick: bool = False
    """`make test-all` drives it too."""

    def cannot_on(self, engine: str) -> frozenset[str]:
        return self.elsewhere.get(engine, self.cannot)

    @property
    def tried(self) -> tuple[str, ...]:
        return self.ways if self.ways == ("code",) else SDK_WAYS


def _python(script: str, environment: str) -> Callable[[], Starts]:
    return lambda: partial(Lines, [installs.python(environment), HERE / "python" / f"{script}.py"])


def _node(script: str) -> Callable[[], Starts]:
    return lambda: partial(Lines, ["node", installs.node() / f"{script}.js"])


def _go(name: str) -> Callable[[], Starts]:
    return lambda: partial(Lines, [installs.go(name)])


def _program(program: Program, directory: Callable[[], Path], **settings: str) -> Callable[[], Starts]:
    """`settings` are variables, which may name those of the home, such as `{AWS_REGION}`."""
    return lambda: partial(Commands, program, directory(), settings)


AWS = Program(
    version=("aws", "--version"),
    up=("aws", "s3", "cp", "--no-progress", "{file}", "s3://{BUCKET}/{key}"),
    names=("aws", "s3", "ls", "--recursive", "s3://{BUCKET}/{prefix}"),
    down=("aws", "s3", "cp", "--no-progress", "s3://{BUCKET}/{key}", "{file}"),
    move=("aws", "s3", "mv", "s3://{BUCKET}/{key}", "s3://{BUCKET}/{to}"),
    remove=("aws", "s3", "rm", "s3://{BUCKET}/{key}"),
)
RCLONE = Program(
    version=("rclone", "version"),
    up=("rclone", "copyto", "{file}", "photos:{BUCKET}/{key}"),
    names=("rclone", "lsf", "--recursive", "photos:{BUCKET}/{prefix}"),
    down=("rclone", "copyto", "photos:{BUCKET}/{key}", "{file}"),
    move=("rclone", "moveto", "photos:{BUCKET}/{key}", "photos:{BUCKET}/{to}"),
    remove=("rclone", "deletefile", "photos:{BUCKET}/{key}"),
)
RCLONE_SETTINGS = {
    "RCLONE_CONFIG": "/dev/null",
    "RCLONE_CONFIG_PHOTOS_TYPE": "s3",
    "RCLONE_CONFIG_PHOTOS_PROVIDER": "Other",
    "RCLONE_CONFIG_PHOTOS_ENV_AUTH": "true",
    "RCLONE_CONFIG_PHOTOS_ENDPOINT": "{AWS_ENDPOINT_URL_S3}",
    "RCLONE_CONFIG_PHOTOS_REGION": "{AWS_REGION}",
    "RCLONE_CONFIG_PHOTOS_NO_CHECK_BUCKET": "true",
}
RCLONE_MUST = "`env_auth`, `endpoint`, `region`, and `no_check_bucket = true`"
S5CMD = Program(
    version=("s5cmd", "version"),
    up=("s5cmd", "cp", "{file}", "s3://{BUCKET}/{key}"),
    names=("s5cmd", "ls", "s3://{BUCKET}/{prefix}*"),
    down=("s5cmd", "cp", "s3://{BUCKET}/{key}", "{file}"),
    move=("s5cmd", "mv", "s3://{BUCKET}/{key}", "s3://{BUCKET}/{to}"),
    remove=("s5cmd", "rm", "s3://{BUCKET}/{key}"),
)
S3CMD_AT = ("s3cmd", "--config=/dev/null", "--host={HOST}", "--host-bucket={HOST}", "--region={AWS_REGION}", "--no-ssl")
S3CMD = Program(
    version=("s3cmd", "--version"),
    up=(*S3CMD_AT, "put", "{file}", "s3://{BUCKET}/{key}"),
    names=(*S3CMD_AT, "ls", "--recursive", "s3://{BUCKET}/{prefix}"),
    down=(*S3CMD_AT, "get", "--force", "s3://{BUCKET}/{key}", "{file}"),
    move=(*S3CMD_AT, "mv", "s3://{BUCKET}/{key}", "s3://{BUCKET}/{to}"),
    remove=(*S3CMD_AT, "rm", "s3://{BUCKET}/{key}"),
)
TABLES_ALONE = frozenset({"rename", "delete"})
RENAME = frozenset({"rename"})
DELETING_MANY = frozenset({"rename", "delete"})
"""What fails where a client deletes by DeleteObjects, which Ceph allows nobody whose keys have a session policy."""
ASKING_FIRST = frozenset({"small", "large", "list", "down", "rename", "delete"})
"""What fails where a client asks for an object before it puts it: Ceph says 403 of what is not there."""


def _python_program(program: Program, of: str, **settings: str) -> Callable[[], Starts]:
    return _program(program, lambda: installs.python(of).parent, **settings)


TOOLS = (
    Tool("boto3", _python("on_boto3", "aws"), "nothing", is_quick=True),
    Tool(
        "s3fs (fsspec)",
        _python("on_s3fs", "s3fs"),
        "an environment without boto3",
        elsewhere={CEPH: DELETING_MANY},
    ),
    Tool("minio (Python)", _python("on_minio", "libraries"), "`region`", ways=("file", "agent", "static")),
    Tool(
        "obstore",
        _python("on_obstore", "libraries"),
        "`endpoint`; `allow_http` for http",
        ways=("file", "static"),
        elsewhere={CEPH: DELETING_MANY},
    ),
    Tool(
        "opendal",
        _python("on_opendal", "libraries"),
        "`endpoint`",
        ways=("file", "agent", "static"),
        cannot=RENAME,
        early=120,
    ),
    Tool("pyarrow", _python("on_pyarrow", "libraries"), "`region`, `endpoint_override`, `scheme`"),
    Tool(
        "polars",
        _python("on_polars", "libraries"),
        "`storage_options`; boto3 beside it",
        stores=b"PAR1",
        has_no=TABLES_ALONE,
    ),
    Tool(
        "DuckDB",
        _python("on_duckdb", "libraries"),
        "the extension aws; `REFRESH auto`, `URL_STYLE 'path'`",
        renews=False,
        has_no=TABLES_ALONE,
    ),
    Tool("AWS SDK for JavaScript 3 (Node)", _node("aws"), "`forcePathStyle`, where S3 is not AWS's", is_quick=True),
    Tool("minio (JavaScript)", _node("minio"), "for more than 64 MiB `partSize`", ways=("code",)),
    Tool("aws4fetch", _node("aws4fetch"), "`service: 's3'`, `region`", ways=("code",)),
    Tool("AWS SDK for Go 2", _go("aws"), "`UsePathStyle`, where S3 is not AWS's", is_quick=True),
    Tool("minio-go", _go("minio"), "`Region`; in its chain `FileAWSCredentials` and `IAM`"),
    Tool("AWS SDK for Java 2", lambda: partial(Lines, installs.java()), "`forcePathStyle`, where S3 is not AWS's"),
    Tool("AWS SDK for Rust", lambda: partial(Lines, [installs.rust()]), "`force_path_style`, where S3 is not AWS's"),
    Tool("AWS CLI 1", _python_program(AWS, "aws"), "nothing"),
    Tool(
        "rclone",
        _python_program(RCLONE, "programs", **RCLONE_SETTINGS),
        RCLONE_MUST,
        elsewhere={CEPH: ASKING_FIRST},
        is_quick=True,
    ),
    Tool(
        "rclone of Debian 12",
        _program(RCLONE, lambda: installs.found("rclone"), **RCLONE_SETTINGS),
        RCLONE_MUST,
        ways=("process", "agent", "static"),
        elsewhere={CEPH: ASKING_FIRST},
    ),
    Tool(
        "s5cmd",
        _python_program(S5CMD, "programs", S3_ENDPOINT_URL="{AWS_ENDPOINT_URL_S3}"),
        "`--endpoint-url`, where S3 is not AWS's",
        ways=("process", "agent", "static"),
        cannot=RENAME,
        elsewhere={CEPH: DELETING_MANY},
        note="it names the source of a copy with `+` for a space, and no engine that was tried takes that for one.",
    ),
    Tool(
        "s3cmd",
        _python_program(S3CMD, "programs"),
        "`--host`, and the same as `--host-bucket`",
        ways=("static",),
        cannot=RENAME,
    ),
)
