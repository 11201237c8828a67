"""The run file and the queries of a live run: kinds of values, settings, schema; refused by file, key and reason."""
