"""Commands of each vendor, a module per vendor. A new module is found without a change to any other file.

A module may have `RUN`, `CHAT` and `REPORT`, commands named after the vendor with options of its own, `GROUP`, a
group of more commands named after the vendor, and `endpoints(environ)`, which returns the base URLs of its settings
by their purpose.
"""
