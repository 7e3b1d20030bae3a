"""Times as statements write them: RFC 3339 in UTC, spelled `YYYY-MM-DDTHH:MM:SS[.f]Z` with at most six decimals."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from protocol.attestation.refusal import refuse

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)


def parse_moment(text: str) -> datetime:
    """Return the aware UTC time of an RFC 3339 text; VerificationError BAD_TIME on anything else."""
    if _MOMENT.fullmatch(text) is None:
        raise refuse("BAD_TIME", observed=repr(text[:40]), expected="YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise refuse("BAD_TIME", observed=repr(text[:40]), expected="a date and time that exist") from error


def format_moment(moment: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
