"""Data types shared by all rooms: rows (`records`), the values behind their indices, enums, losses.

Pure data: imports numpy and nothing of flowd outside this package. Capture and accesslog create
rows, the pipeline fills their columns, exporters and filters read them. `directory` maps the small
integers in rows to endpoints, routes, backends and processes.
"""
