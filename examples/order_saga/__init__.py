"""Two hundred orders, three services, and an orchestrator that is killed again and again: no order is left half-done.

`python -m examples.order_saga` runs it. To learn how to use the library, read two modules: `saga.py` is the saga, the
side that calls; `participants.py` and the handler in `service.py` are the side that is called. The others are what
surrounds them:

    values.py        what is passed around: an order, and what each service answers
    saga.py          placing an order: reserve, charge, create, and how each is undone
    clients.py       how the saga's steps call the services
    orchestrator.py  runs the saga for every order, in a process of its own; may die at any moment
    participants.py  what the three services do, each with a database of its own
    service.py       the HTTP server around one of them, with its injected faults
    script.py        the orders, the stock, and which call meets which fault: all from one seed
    processes.py     starts these processes, hears them, kills them, and always ends them
    board.py         what has become of the orders so far, as the orchestrator tells it
    director.py      when the orchestrator is killed
    screen.py        what one sees while it runs
    books.py         the three databases and the journal, read when all is over
    audit.py         holds them against one another
    sabotage.py      spoils them, to show that the audit can fail
    timeline.py      one order that lived through a kill, drawn
    summary.py       the tables at the end
"""
