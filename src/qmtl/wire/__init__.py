"""What processes say to each other: the DAG document, messages, events, problems and the clients."""
