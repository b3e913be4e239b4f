"""The engine: rooms, the path of a message, and the facade that puts them together.

Nothing is exported here; the public names live in the submodules and in ``roomkit``.
"""
