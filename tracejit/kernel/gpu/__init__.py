"""How groups run on a GPU: schedules, as Kernel IR with ``block`` and ``thread`` loops."""
