"""Recorded videos as jobs: handed in, analysed in full beside the live cameras, results kept for a while.

A job is no second way through the pipeline. It is `kinestream ingest` on the every-frame lane, the results of
that run written to a file, and whatever else was asked for made from that file. Frames never pass through
arq: it only says which job is to be worked on, and again if whoever did so died.

    client.py        hand in, look, wait, abort, retry: what programs and `kinestream job` use
    request.py       what can be asked for
    store.py, lua/   the jobs in Redis, and who works on which
    queue.py         arq, and nothing else imports it
    service.py       `kinestream jobs`: runs the jobs that it is given, one process of many
    work.py          one job that was taken up: done, kept meanwhile, and told
    analysis.py      one video: its run, again from where it stood if need be
    reading.py       its frames, offered by `kinestream ingest`
    collecting.py    results -> lines in a file, with a place to go on from
    outputs.py       files that were asked for, from those lines
    folders.py       where videos are, and where results go
    chores.py        a camera that is wanted from a time on, or no more
    ending.py        the run of a job that will not be finished
    packed.py        what arq stores, without pickle
    housekeeping.py  what nobody else clears away
"""
