"""From a name such as `dca+mixup` to its objective.

A name is one or more losses of the registry, joined by `+` in any order. At most one is a main term
(cross-entropy by default) and at most one mixes inputs; the others are auxiliary terms, which add
up. `_` may replace `-`.
"""

from collections.abc import Mapping

from training.errors import BadLoss, UnknownName
from training.losses.loss import MainTerm, Term
from training.losses.mixup import Mixup
from training.losses.objective import Objective
from training.losses.recipe import LossSettings, Recipe, Role

Registry = Mapping[str, Recipe]
DEFAULT_MAIN = "ce"


def compose(name: str, settings: LossSettings, registry: Registry) -> Objective:
    """The objective of `name`. Raises UnknownName and BadLoss."""
    parts = split_name(name, registry)
    options = chosen_options(parts, settings, registry)
    mains, extras, mixings = (
        [part for part in parts if registry[part].role == role]
        for role in ("main", "auxiliary", "mixing")
    )
    main: MainTerm = registry[mains[0]].build(settings.class_weights, **options[mains[0]])
    auxiliary: list[Term] = [
        registry[part].build(
            *((settings.class_weights,) if registry[part].weighted else ()), **options[part]
        )
        for part in extras
    ]
    mixing: list[Mixup] = [registry[part].build(**options[part]) for part in mixings]
    return Objective((main, *auxiliary), mixing[0] if mixing else None)


def split_name(name: str, registry: Registry) -> tuple[str, ...]:
    """The parts of `name` as the registry spells them, the main term first, named or default.
    Raises as `compose`.
    """
    parts = tuple(part.strip().replace("_", "-") for part in name.split("+"))
    for part in parts:
        if part not in registry:
            raise UnknownName("loss", part, tuple(registry))
    if len(set(parts)) < len(parts):
        raise BadLoss(f"loss {name!r} names a part twice; name each part once")
    mains = _only(parts, "main", name=name, registry=registry) or (DEFAULT_MAIN,)
    _only(parts, "mixing", name=name, registry=registry)
    return mains + tuple(part for part in parts if part not in mains)


def title(name: str, registry: Registry) -> str:
    """The title in tables and plots: the titles of the named parts, joined by +.

    Raises as `compose`.
    """
    main, *others = (registry[part].title for part in split_name(name, registry))
    named = split_name(name, registry)[0] in name.replace("_", "-").split("+")
    return " + ".join([main, *others] if named or not others else others)


def _only(parts: tuple[str, ...], role: Role, *, name: str, registry: Registry) -> tuple[str, ...]:
    """The part with this role, if there is one. Raises BadLoss for two."""
    found = tuple(part for part in parts if registry[part].role == role)
    if len(found) > 1:
        kind = "main terms" if role == "main" else "ways of mixing"
        raise BadLoss(
            f"loss {name!r} has {len(found)} {kind} ({', '.join(found)}); keep one of them"
        )
    return found


def chosen_options(
    parts: tuple[str, ...], settings: LossSettings, registry: Registry
) -> dict[str, dict[str, float]]:
    """The value of every option of every part, from the settings or its default. Raises BadLoss."""
    chosen = {
        part: {key: option.default for key, option in registry[part].options.items()}
        for part in parts
    }
    given = dict(settings.options)
    if (
        settings.beta is not None
        and "beta" not in given
        and any("beta" in known for known in chosen.values())
    ):
        given["beta"] = settings.beta
    for key, value in given.items():
        part, option = _owner(key, chosen)
        limits = registry[part].options[option]
        if not limits.accepts(value):
            raise BadLoss(
                f"option {option} of loss {part} is {value}; expected {limits.low:g} to "
                f"{limits.high:g}"
            )
        chosen[part][option] = float(value)
    return chosen


def _owner(key: str, chosen: Mapping[str, Mapping[str, float]]) -> tuple[str, str]:
    """The part and option of `key`, such as `gamma` or `focal.gamma`."""
    part, _, option = key.rpartition(".")
    part, option = part.replace("_", "-"), option.replace("-", "_")
    owners = [name for name, options in chosen.items() if option in options and part in ("", name)]
    if len(owners) == 1:
        return owners[0], option
    if owners:
        raise BadLoss(
            f"option {key!r} belongs to {' and '.join(owners)}; write {owners[0]}.{option} for "
            "one of them"
        )
    known = [f"{name}.{option}" for name, options in chosen.items() for option in options]
    raise BadLoss(
        f"unknown option {key!r} of loss {'+'.join(chosen)}; known: {', '.join(known) or 'none'}"
    )
