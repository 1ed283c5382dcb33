"""What the control plane needs from the world, as promises; who keeps them is in ``backends``."""
