"""How well the gateway spends free quota: a day of traffic in virtual time, beside a router that knows the truth.

The real engine, ledger, configuration and classification run against simulated providers; no socket is opened and
nothing waits. The same seed gives the same day. Where what is kept::

    virtual   an event loop whose time leaps, and a clock on it
    world     providers, accounts, their true limits, and what happens to them in the course of a day
    traffic   who asks for what, when
    truth     what each account would really admit at this moment
    oracle    the router that knows the truth
    network   the way to the providers and back, as the engine's upstream
    judge     what the engine does, held against the truth
    day       one whole day, and the figures of it
    report    figures side by side, causes, bars
"""
