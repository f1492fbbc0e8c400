"""Options that several commands have."""

from typing import Annotated

import typer

MfaCode = Annotated[
    str | None, typer.Option(help="The code of TOKENVEND_MFA_SERIAL's device. Left out, the command asks for it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")]
