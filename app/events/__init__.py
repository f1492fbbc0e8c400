"""Events out: what happens here, told to the operator's own server."""
