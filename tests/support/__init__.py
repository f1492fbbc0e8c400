"""Stand-ins and harnesses; each stand-in is held to the real thing by a test in `tests/support/`."""
