"""The HTTP servers, on aiohttp: the API that tools talk to, and the pages and admin API that people look at."""
