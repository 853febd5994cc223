"""What an instrument can do, as the planner is told."""

from __future__ import annotations

import math

from actors.orders import Offer
from instruments.driver import Capability, Limit


def offer_of(capability: Capability) -> Offer:
    """Return a capability as an offer; an infinite limit is none."""
    return Offer(
        capability=capability.name,
        idempotent=capability.idempotent,
        batch=capability.batch,
        programme=capability.programme,
        limits={key: _bounds(limit) for key, limit in capability.limits.items()},
        quantities={key: _bounds(limit) for key, limit in capability.quantities.items()},
    )


def _bounds(limit: Limit) -> tuple[float | None, float | None]:
    low, high = float(limit.low), float(limit.high)
    return (low if low > -math.inf else None, high if high < math.inf else None)
