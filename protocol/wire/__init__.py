"""The wire: the gRPC service that a sealed container answers on, and the server that vendors start."""
