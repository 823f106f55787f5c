"""Getting tools to chain429: through the proxy (``run``, ``env``), or by their own settings (``setup``).

What is here writes files of this user and starts programs; it serves no requests and imports no mitmproxy.
"""
