"""Requests for completions and their replies: protocol, client, retries, concurrency, errors of servers."""
