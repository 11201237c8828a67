"""The run file and the queries of a live run: kinds of values, tables, settings; refused by file, key and reason."""
