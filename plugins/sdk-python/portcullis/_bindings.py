"""Where the host's interfaces come from: generated bindings in a component, the doubles of `portcullis.testing` elsewhere."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

IN_COMPONENT = find_spec("wit_world") is not None


def interface(name: str) -> Any:
    """An interface of the host. That one is missing shows when the component is built, and never later."""
    if not IN_COMPONENT:
        return getattr(import_module("portcullis.testing.host"), name)
    try:
        return import_module(f"wit_world.imports.{name}")
    except ImportError:
        raise ImportError(
            f'portcullis.{name} needs a capability; say why under [capabilities] in policy.toml: {name} = "…"'
        ) from None
