"""The request log on SQLite: what was asked, what was tried, who served it; and what is kept over a restart.

``records`` are the values that go in, ``writer.Store`` writes them from one thread of its own, ``queries.Queries``
reads them back; ``state`` is what is kept by name. A log that can't be written never fails a request.
"""
