"""HTTP below the routes: the protocol, the edge, the guards of routes, and answers with problems."""
