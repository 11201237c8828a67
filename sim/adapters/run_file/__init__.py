"""The run file and the queries of a live run: read key by key, refused by file, key and reason."""
