"""The live loop: who computes what, records in and out, paper trading. The machine is pure; shells do the I/O."""
