"""What the gateway costs, measured side by side on one machine. ``scripts/bench`` runs it.

Every contestant stands before the same provider and is given the same load, in turns; what is told is the difference to
asking the provider directly, and the ratio to a relay that does nothing. Absolute times are the machine's.
"""
