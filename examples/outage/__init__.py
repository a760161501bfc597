"""An outage, live: a real HTTP service that fails on a written schedule, and a client that lives through it.

`python -m examples.outage` runs it. To learn how to use the library, read `client.py`: it is the only module here
that applies a policy. The others are what surrounds it:

    schedule.py   how the service behaves, second by second
    service.py    the service, an HTTP server in a process of its own
    host.py       starts that process, hears what reaches it, and always ends it
    client.py     the calls and their policies
    load.py       makes the calls, from threads and from tasks at once
    records.py    what is written down about them
    audit.py      holds both sides' records against what the policies promise
    sabotage.py   spoils the records, to show that the audit can fail
    live.py       what one sees while it runs
    summary.py    the table at the end
    picture.py    the timeline as an SVG file
    palette.py    the colours, the same on the screen and in the picture
"""
