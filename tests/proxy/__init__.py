"""Tests of ``chain429.proxy``."""

import warnings

with warnings.catch_warnings():
    # Packages that mitmproxy brings along warn of each other while they are imported; that is not for us to fail on.
    warnings.simplefilter("ignore", DeprecationWarning)
    import mitmproxy.master  # noqa: F401
