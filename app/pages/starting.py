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
    url: str = ""


@dataclass(frozen=True)
class Start:
    """Each text is for a person on the same machine."""

    url: str
    """Of the service."""
    engine_url: str
    """Of S3 and STS, as apps reach them."""
    bucket: str
    keeps_mails: bool
    """Whether mails are shown instead of sent."""
    administrator: str
    """The command that makes one."""
    ports: tuple[int, ...] = ()
    """Of the service and of S3, where they listen on this machine."""
    elsewhere: str = ""
    """How a phone in the same network reaches the service."""

    def rows(self) -> list[Row]:
        mails = Row("mail box", f"{self.url}/#mail", f"{self.url}/#mail")
        return [
            Row("sample app", f"{self.url}/demo", f"{self.url}/demo"),
            Row("API pages", f"{self.url}/docs", f"{self.url}/docs"),
            Row("console", f"{self.url}/console", f"{self.url}/console"),
            mails if self.keeps_mails else Row("mail box", "none: mails go to the server of TOKENVEND_SMTP_URL"),
            Row("S3 and STS", f"{self.engine_url}, bucket {self.bucket}"),
            Row("administrator", self.administrator),
            *(
                Row("" if place else "phone by USB", f"adb reverse tcp:{port} tcp:{port}")
                for place, port in enumerate(self.ports)
            ),
            *([Row("phone by Wi-Fi", self.elsewhere)] if self.elsewhere else []),
        ]

    def banner(self) -> str:
        """Ten lines. The first one is for programs too."""
        return "\n".join([f"ready {self.url}", *(f"  {row.name:<16}{row.text}" for row in self.rows())])

    def page(self) -> str:
        rows = "\n".join(map(_html, self.rows()))
        return (
            TEMPLATE.read_text(encoding="utf-8")
            .replace("<!-- rows -->", rows)
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
    )


def _html(row: Row) -> str:
    text = f'<a href="{escape(row.url)}">{escape(row.text)}</a>' if row.url else f"<code>{escape(row.text)}</code>"
    return f"<dt>{escape(row.name)}</dt><dd>{text}</dd>" if row.name else f"<dd>{text}</dd>"
