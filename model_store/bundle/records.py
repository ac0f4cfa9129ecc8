"""What the records of bundles and stores have in common."""

from pydantic import BaseModel, ConfigDict, ValidationError


class ClosedRecord(BaseModel):
    """Does not change, and has no other fields than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenRecord(BaseModel):
    """Does not change; ignores unknown fields, which later Candors may add to this format."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, behind the place where it is."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
