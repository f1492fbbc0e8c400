"""STS as a service to call: base credentials, signatures, Regions, deadlines. It knows nothing of users or prefixes."""
