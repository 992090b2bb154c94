"""What each vendor adds to the command line, a module each. A new module is found without another file changing.

A module may have `RUN` and `REPORT`, commands named after the vendor whose options are the vendor's own, `GROUP`, a
group of more commands called as the vendor, and `endpoints(environ)`, which gives the base URLs that its settings
lead to, by what they are for.
"""
