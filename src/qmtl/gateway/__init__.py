"""The Gateway: takes submissions, never loses what it acknowledged, tells how they fare."""
