"""What a developer is told of the service on their machine: by a banner in the terminal, and by the page `/`."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from app.pages import guides
from app.platform.settings import Settings

TEMPLATE = Path(__file__).parent / "start" / "index.html"


@dataclass(frozen=True)
class Row:
    name: str
    """Empty if the row goes on with what the one before began."""
    text: str
    path: str | None = None
    """Of the service, where the row is an address on it."""
    is_open: bool = True
    """Whether other machines reach it too, if the service answers them."""


@dataclass(frozen=True)
class Start:
    url: str
    """Of the service, for a person on the same machine."""
    engine_url: str
    """Of S3 and STS, as apps reach them."""
    bucket: str
    keeps_mails: bool
    """Whether mails are shown instead of sent."""
    administrator: str
    """The command that makes one."""
    devices: tuple[Row, ...] = ()
    """How apps on devices reach the service."""
    opens_console: bool = False
    """Whether the console answers other machines too."""
    shut: str = ""
    """What is said of the console and the mails where nobody reaches them."""

    def rows(self) -> list[Row]:
        console = self._row("console", "console", is_open=self.opens_console)
        mails = self._row("mail box", "#mail", is_open=False)
        if self.shut:
            console, mails = (Row(row.name, self.shut, is_open=False) for row in (console, mails))
        return [
            self._row("sample app", "demo"),
            self._row("API pages", "docs"),
            console,
            mails if self.keeps_mails else Row("mail box", "none: mails go to the server of TOKENVEND_SMTP_URL"),
            Row("S3 and STS", f"{self.engine_url}, bucket {self.bucket}"),
            Row("administrator", self.administrator, is_open=False),
            *self.devices,
        ]

    def _row(self, name: str, path: str, *, is_open: bool = True) -> Row:
        return Row(name, f"{self.url}/{path}", path, is_open)

    def banner(self) -> str:
        """Ten lines. The first one is for programs too."""
        return "\n".join([f"ready {self.url}", *(f"  {row.name:<16}{row.text}" for row in self.rows())])

    def page(self, *, is_local: bool) -> str:
        """`is_local`: whether it is for a person on the same machine. Others get no link to what refuses them."""
        rows = [_html(row, is_local=is_local) for row in self.rows() if is_local or row not in self.devices]
        return (
            TEMPLATE.read_text(encoding="utf-8")
            .replace("<!-- place -->", " on this machine" if is_local else "")
            .replace("<!-- rows -->", "\n".join(rows))
            .replace("<!-- guides -->", guides.links())
        )


def start_of(settings: Settings) -> Start:
    """For a service that has no more than its settings, such as `tokenvend serve` in development."""
    return Start(
        url=settings.public_url,
        engine_url=settings.s3_public_endpoint_url or settings.s3_endpoint_url or f"AWS in {settings.region}",
        bucket=settings.bucket,
        keeps_mails=not settings.smtp_url.get_secret_value(),
        administrator="tokenvend admin create --email you@example.org",
        opens_console=True,
    )


def _html(row: Row, *, is_local: bool) -> str:
    """A link is relative, so it leads to the host at which the page was opened."""
    if not (is_local or row.is_open):
        text = "on the machine of the service alone"
    elif row.path is None:
        text = f"<code>{escape(row.text)}</code>"
    else:
        text = f'<a href="{row.path}">/{row.path}</a>'
    return f"<dt>{escape(row.name)}</dt><dd>{text}</dd>" if row.name else f"<dd>{text}</dd>"
