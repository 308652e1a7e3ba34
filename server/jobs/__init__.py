"""Batch jobs in the service: from files of captions to shards of pictures, in its own folders.

A job writes what `t2i batch` writes, by the same code. Its pictures come from the server's engine,
at batch priority, so that interactive calls go first. What jobs there are is kept in a database, so
that the next server goes on with those of one that was killed.

* `settings.py`: where jobs may read and write, and how many there may be.
* `places.py`: from the paths of a request to files, and no way out of the server's folders.
* `requests.py`: from a request to what a job is to do.
* `store.py`: the database.
* `drawer.py`: draws for a job on the engine.
* `runner.py`: the jobs that run.
* `service.py`: the calls.
"""
