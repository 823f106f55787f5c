"""Pure decisions. Standard library only; no clock, no file, no environment, no waiting: ``now`` is an argument."""
