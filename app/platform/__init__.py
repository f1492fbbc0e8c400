"""What every feature uses: clock, settings, database, limits, metrics, logs. It knows no feature."""
