"""Ranges that settings share: each name says which values a field takes. Pure."""

from typing import Annotated

from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
"""A TCP port; 0 lets the system choose a free one."""

Count = Annotated[int, Meta(ge=0)]
PositiveCount = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
PositiveShare = Annotated[float, Meta(gt=0, le=1)]
Probability = Annotated[float, Meta(gt=0, lt=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
