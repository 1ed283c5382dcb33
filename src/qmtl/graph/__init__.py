"""What is computed: nodes, operators, their identity and the graph they form."""
