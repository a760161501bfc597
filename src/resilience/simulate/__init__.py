"""Ten thousand clients on a laptop: the same policies, a modelled service, and time that does not pass.

```python
service = Service(20, lognormal(0.05, 0.2), brownouts=[Brownout(20, 30, slower=4)])
policy = Pipeline(retry(on=TimedOut), timeout(1))

print(simulate(service, policy, rate=200))
```

A `Service` has a capacity, latencies, a queue, and times in which it is ill; a `LookAside` is a cache in front of it.
Clients call at a rate, or each when it has thought. The `Report` tells goodput, latencies, amplification, and how long
it took to recover, as figures and as a course in time. The same seed gives the same run.
"""

from ._report import Report, Tick
from ._run import simulate
from ._service import Brownout, LookAside, Service, exponential, lognormal

__all__ = ["Brownout", "LookAside", "Report", "Service", "Tick", "exponential", "lognormal", "simulate"]
