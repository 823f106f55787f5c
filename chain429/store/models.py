"""The tables, as Peewee models without a database of their own: whoever runs a query says on which.

A change here needs a migration beside it (see ``migrations``); a test compares the two. Columns mean what the fields of
``records`` mean.
"""

from __future__ import annotations

from peewee import AutoField, BooleanField, CompositeKey, FloatField, ForeignKeyField, IntegerField, Model, TextField


class Request(Model):
    """One request of a client.

    ``number`` is the writer's own count, so that rows are only ever added at the end, whatever ids look like; ``id``
    is what the client was told, which it may have chosen itself, twice even. Every index costs each insert: this one
    serves every query there is.
    """

    number = AutoField()
    id = TextField()
    at = FloatField(index=True)
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


class State(Model):
    """What is kept by name over a restart: ``value`` is JSON, ``written_at`` Unix seconds."""

    name = TextField(primary_key=True)
    value = TextField()
    written_at = FloatField()


class Migration(Model):
    """A migration that this file has been through; ``applied`` is Unix seconds."""

    name = TextField(primary_key=True)
    applied = FloatField()
