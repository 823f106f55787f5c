"""chain429: an AI gateway that spends free tiers first.

The layers, and who may import whom (``tests/test_layers.py`` reads the imports)::

    errors                    the exception tree; imports nothing
    clock                     the only reader of time
    folders                   where the configuration and the data are
    routing/                  PURE decisions: outcomes, limits, breakers, the order of a chain
    wire/                     PURE translation: bytes and dicts in, neutral events out
    catalog/                  data: what is known of each provider
    config                    one checked, frozen configuration
    upstream                  the only HTTP client
    store/                    the request log on SQLite, and what is kept over a restart; one writer thread
    memory                    what was learned, over a restart
    models                    the lists that providers publish of their models
    observer                  how the engine tells of its attempts, to whoever looks
    engine                    the one waterfall loop; the only place that waits
    web/                      the HTTP servers: API, pages, admin
    app                       wires the objects together
    launch/                   getting tools here: run, env, setup, ca
    proxy/                    the only importer of mitmproxy
    cli/                      the command line, a module for each command

Importing this package does nothing.
"""

__version__ = "0.1.0"
