"""Real clients at work through the gateway, on simulated providers: what scripts/test-clients runs.

The chain's first provider refuses with 429 and the second one answers, once for each dialect that a provider may
speak. Nothing leaves this machine but the installation. Where what is kept::

    packages     the clients, as npm installs them from package.json and package-lock.json
    documented   the lines that docs/clients.md tells people to paste: they are what is tried here
    world        a gateway and its providers, fresh for each trial
    process      a client's run: an environment of its own, a time-out, nothing left behind
    trials       what each client is told to do, and what must have come of it
"""
