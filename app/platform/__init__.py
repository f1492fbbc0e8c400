"""What every feature stands on: clock, settings, database, limits, metrics, logs. It knows no feature."""
