"""Real programs in front, simulated providers behind: mitmproxy's own, the scripts, SDKs."""

import warnings

with warnings.catch_warnings():
    # Packages that mitmproxy brings along warn of each other while they are imported; that is not for us to fail on.
    warnings.simplefilter("ignore", DeprecationWarning)
    import mitmproxy.io  # noqa: F401
