"""Every route. Nobody imports it but the application."""
