"""The service as processes of its own, under crowds and under kill -9."""
