"""How nodes are computed: plans, compiled kernels, and the batch and stream drivers. No I/O, no clock."""
