"""HTTP below the routes: the edge, the protocol, the dependencies of a request, problems as answers."""
