"""The tables, as Peewee models without a database of their own: whoever runs a query says on which.

A change here needs a migration beside it (see ``migrations``); a test compares the two. Columns mean what the fields of
``records`` mean.
"""

from __future__ import annotations

from peewee import (
    SQL,
    AutoField,
    BooleanField,
    CompositeKey,
    FloatField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


class Request(Model):
    """One request of a client.

    ``number`` is the writer's own count, so that rows are only ever added at the end, whatever ids look like; ``id``
    is what the client was told, which it may have chosen itself, twice even. Every index costs each insert: these two
    serve every query there is.
    """

    number = AutoField()
    id = TextField(index=True)
    at = FloatField()
    dialect = TextField()
    chain = TextField()
    model_asked = TextField()
    provider = TextField(null=True)
    model = TextField(null=True)
    credential = TextField(null=True)
    status = IntegerField()
    outcome = TextField()
    streamed = BooleanField()
    tokens_in = IntegerField(null=True)
    tokens_out = IntegerField(null=True)
    latency = FloatField()
    first_token = FloatField(null=True)
    client = TextField()
    error = TextField()
    tokens_cached = IntegerField(null=True)
    cost = FloatField(null=True)
    currency = TextField(constraints=[SQL("DEFAULT 'usd'")])
    list_cost = FloatField(null=True)
    list_model = TextField(constraints=[SQL("DEFAULT ''")])
    list_currency = TextField(constraints=[SQL("DEFAULT 'usd'")])
    priced = TextField(constraints=[SQL("DEFAULT ''")])

    class Meta:
        indexes = ((("at", "outcome"), False),)


class Hour(Model):
    """What happened in one hour (Unix seconds of its beginning), for each way that a request or an attempt can go.

    Requests count where they were served, or at no provider (empty names) where nobody served them; ``failures`` are
    attempts that failed, at the provider where they did. Sums of costs are of those that are known; ``unpriced`` counts
    the served requests whose cost, or list price, is not. ``within_…`` counts served requests by latency: those that
    took no longer than so many milliseconds, and longer than the column before says. Stays when the rows go.
    """

    hour = IntegerField()
    chain = TextField()
    provider = TextField()
    model = TextField()
    credential = TextField()
    client = TextField()
    currency = TextField()
    requests = IntegerField()
    served = IntegerField()
    failures = IntegerField()
    tokens_in = IntegerField()
    tokens_out = IntegerField()
    tokens_cached = IntegerField()
    tokens_wasted = IntegerField()
    cost = FloatField()
    list_cost = FloatField()
    unpriced = IntegerField()
    first_token = FloatField()
    within_250 = IntegerField()
    within_500 = IntegerField()
    within_1000 = IntegerField()
    within_2000 = IntegerField()
    within_4000 = IntegerField()
    within_8000 = IntegerField()
    within_16000 = IntegerField()
    within_32000 = IntegerField()
    within_ever = IntegerField()

    class Meta:
        primary_key = CompositeKey("hour", "chain", "provider", "model", "credential", "client", "currency")
        without_rowid = True


class Day(Hour):
    """The same for each day in UTC, whose first hour is in ``hour``: a month has few of them."""

    class Meta:
        primary_key = CompositeKey("hour", "chain", "provider", "model", "credential", "client", "currency")
        without_rowid = True


class Attempt(Model):
    """One attempt of a request; ``ordinal`` counts them from 0.

    Its key is its place on the disk (``WITHOUT ROWID``): a request's attempts lie together and need no second index.
    """

    request = ForeignKeyField(Request, backref="attempts", on_delete="CASCADE", index=False)
    ordinal = IntegerField()
    provider = TextField()
    model = TextField()
    credential = TextField()
    outcome = TextField()
    status = IntegerField(null=True)
    reason = TextField()
    duration = FloatField()
    until = FloatField(null=True)

    class Meta:
        primary_key = CompositeKey("request", "ordinal")
        without_rowid = True


class Body(Model):
    """What a client sent and was sent, as far as it is kept; sizes are those of the whole, in bytes."""

    request = ForeignKeyField(Request, primary_key=True, on_delete="CASCADE")
    asked = TextField()
    asked_size = IntegerField()
    answered = TextField()
    answered_size = IntegerField()


class State(Model):
    """What is kept by name over a restart: ``value`` is JSON, ``written_at`` Unix seconds."""

    name = TextField(primary_key=True)
    value = TextField()
    written_at = FloatField()


class Migration(Model):
    """A migration that this file has been through; ``applied`` is Unix seconds."""

    name = TextField(primary_key=True)
    applied = FloatField()
