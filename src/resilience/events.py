"""What `listen` hears: frozen values, one class for each thing that can happen. See each for its attributes."""

from ._events import (
    Abandoned,
    CutOff,
    Event,
    FellBack,
    GaveUp,
    Listener,
    Overran,
    Recovered,
    Refused,
    Retrying,
    SagaParked,
    StateChanged,
    WouldOpen,
)

__all__ = [
    "Abandoned",
    "CutOff",
    "Event",
    "FellBack",
    "GaveUp",
    "Listener",
    "Overran",
    "Recovered",
    "Refused",
    "Retrying",
    "SagaParked",
    "StateChanged",
    "WouldOpen",
]
