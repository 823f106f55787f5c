"""The front that mitmproxy is: the only importer of it.

``addon`` has the options, starts the gateway in mitmproxy's own event loop and stops it. ``steering`` leads the
requests of covered hosts to it, ``relay`` past mitmproxy's HTTP layer where nobody looks. ``fence`` keeps clients of
the proxy out of where they have no business. ``attempts`` shows what the gateway sends as flows, ``commands`` has what
can be typed. ``flows`` says what is done to a flow, ``listening`` where mitmproxy listens, ``events`` how the log
reaches mitmproxy's own.
"""
