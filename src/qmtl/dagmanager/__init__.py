"""The DAG manager: recognises nodes, maps them to queues, collects what nobody uses. Deciders are pure."""
