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
    RefreshFailed,
    Refused,
    Retrying,
    SagaParked,
    ServedStale,
    StateChanged,
    StoreFailed,
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
    "RefreshFailed",
    "Refused",
    "Retrying",
    "SagaParked",
    "ServedStale",
    "StateChanged",
    "StoreFailed",
    "WouldOpen",
]
