class EngineError(Exception):
    """The engine does not start; one clear sentence says why, and what to do."""
