"""The colours, the same on the screen and in the picture; told apart by the colour-blind, too (after Okabe and Ito)."""

from .records import Outcome

INK, FAINT, GRID, PAPER = "#24292f", "#6e7781", "#eaeef2", "#ffffff"

OUTCOME = {
    Outcome.OK: "#009e73",
    Outcome.FAILED: "#d55e00",
    Outcome.TIMED_OUT: "#e69f00",
    Outcome.CIRCUIT_OPEN: "#8a63b8",
    Outcome.BULKHEAD_FULL: "#0072b2",
    Outcome.OUT_OF_TIME: "#6e7781",
}

RECOVERED = "#56b4e9"
"""A call that a retry saved."""

STATE = {"closed": "#009e73", "half_open": "#f0c000", "open": "#d55e00"}

PHASE = {"healthy": "#009e73", "slow": "#e69f00", "down": "#d55e00", "flaky": "#cf8a5e", "recovered": "#009e73"}
