"""Real programs in front, simulated providers behind: mitmproxy's own, the scripts, SDKs."""
