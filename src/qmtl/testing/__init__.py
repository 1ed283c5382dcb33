"""Proofs about strategies and operators: no look-ahead, determinism, warm-up, lint."""
