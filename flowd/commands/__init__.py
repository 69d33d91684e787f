"""Commands of `flowd`, one module or package for each verb, which has the click command `command`.

`flowd.cli` imports a verb's module when the verb runs; heavy imports stand inside the functions,
so that `--help` and completion load neither grpc nor numpy nor Textual. May import every room;
no room imports a command. `options` generates the agent's flags from the settings.
"""
