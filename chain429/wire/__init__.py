"""Pure translation: bytes and dicts in, bytes and neutral events out. It never chooses and never retries."""
