"""Reports of a comparison: a table for the terminal, JSON, JUnit XML and a self-contained HTML page.

Each module takes verdicts and their summary and returns text. Strings of requests pass
`flowd.text.printable` or the escaping of the format.
"""
