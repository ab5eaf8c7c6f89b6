"""The commented keys.yaml that `keyfleet init` writes: references to variables, and never a value of one."""

from __future__ import annotations

from collections.abc import Iterable

from limits import RateLimitItem

from keyfleet.config.environment import Environment
from keyfleet.config.environment_keys import BASE_URL, ORGANIZATION, PROJECT
from keyfleet.config.key_config import KeyConfig
from keyfleet.config.model_limits import UNITS

__all__ = ["render_keys_file"]

_HEAD = """\
# The API keys of this fleet. `keyfleet run`, started in this directory, uses this file and no other keys.
# Secrets stay where they are: this file only refers to them, as ${VARIABLE} (of the environment or of .env) or as
# file:/path. It may hold a secret itself, but then keep it to yourself (chmod 600) and out of version control.

# What all keys share; each may say otherwise. Any field of a key but name and api_key can stand here.
# defaults:
#   headroom: 30%                     # leave this share of every limit to others that use the same keys
#   timeout_s: 600                    # wait so long for an answer
#   concurrency: 32                   # calls under way at once, per key

# What an organisation may do in all, where its projects have limits of their own within that; those then stand at
# the keys. Without this, the limits at the keys of a group are the organisation's.
# groups:
#   org-research:
#     models: {"gpt-4o*": {rpm: 10k, tpm: 30M}}

keys:
"""

_NO_KEYS_FOUND = """\
  # No OPENAI_API_KEY… was set when this was written. Set the variable below, or refer to another one.
"""

_EXAMPLE_LIMITS = """\
    # Limits, as the provider's page on limits shows them: rpm, tpm, ipm (requests, tokens and images per minute), rpd,
    # tpd, ipd (per day), or any window, such as 100/second. What isn't given is learned from the first answers.
    # models:                         # the models that this key serves (without `models`: any); * is a wildcard
    #   gpt-4o-mini: {rpm: 500, tpm: 200k, rpd: 10k}
    #   "text-embedding-3-*": {requests: [3000/minute, 100/second], tokens: 1M/minute}
    #   "gpt-4.1, gpt-4.1-2025-04-14": {rpm: 500, tpm: 30k}    # they share one limit
    #   gpt-image-1: {ipm: 50, tpm: 250k}
    #   gpt-4o: {as: gpt4o-prod}      # its name at the provider (Azure: the deployment)
"""

_KEY_LIMITS = """\
    # Limits of all models together. In their place, each model may have its own (without it: any model is served):
    # models: {gpt-4o-mini: {rpm: 500, tpm: 200k, rpd: 10k}}
"""

_FIELDS_OF_FIRST_KEY = """\
    # group: org-research             # keys of one organisation share their limits: give them the same group
    # provider: openai                # or azure, anthropic, compatible (these, but for anthropic, need base_url)
    # headers: {X-Team: research}     # sent with every call; ${VARIABLE} may stand in a value
    # workers: 1                      # processes that serve this key on a host
    # refunds: false                  # whether the provider gives back what a request reserved and didn't use
"""

_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def render_keys_file(keys: Iterable[KeyConfig], env: Environment) -> str:
    """The file's text for `keys`, as `environment_keys` found them; for none, with one example to be filled in."""
    blocks = [_key_block(key, env) for key in keys]
    if not blocks:
        blocks = [_NO_KEYS_FOUND + "  - name: default\n    api_key: ${OPENAI_API_KEY}\n" + _shared_lines(env, False)]
        blocks[0] += _limit_lines(None)
    blocks[0] += _FIELDS_OF_FIRST_KEY
    return _HEAD + "\n".join(blocks)


def _key_block(key: KeyConfig, env: Environment) -> str:
    source = "file:" if key.api_key.is_file else ""
    (variable,) = key.api_key.variables
    text = f"  - name: {_quoted(key.name)}\n    api_key: {source}${{{variable}}}\n"
    if key.proxy is not None:
        (proxy_variable,) = key.proxy.variables
        text += f"    proxy: ${{{proxy_variable}}}\n"
    return text + _shared_lines(env, key.proxy is not None) + _limit_lines(key)


def _shared_lines(env: Environment, has_proxy: bool) -> str:
    """Address, organisation and project, which the environment gives for all keys at once."""
    lines = "" if has_proxy else "    # proxy: http://127.0.0.1:7890    # or socks5h://…; a password as ${VARIABLE}\n"
    for field, names in (("base_url", BASE_URL), ("organization", ORGANIZATION), ("project", PROJECT)):
        name = env.first_set(*names)
        if name is not None:
            lines += f"    {field}: ${{{name}}}\n"
    return lines


def _limit_lines(key: KeyConfig | None) -> str:
    if key is None or key.limits is None:
        return _EXAMPLE_LIMITS
    lines = _KEY_LIMITS
    for unit in UNITS:
        items = key.limits.of(unit)
        if items:
            lines += f"    {unit}: [{', '.join(_notation(item) for item in items)}]\n"
    return lines


def _notation(item: RateLimitItem) -> str:
    return f"{item.amount}/{item.multiples if item.multiples > 1 else ''} {item.GRANULARITY.name}".replace("/ ", "/")


def _quoted(name: str) -> str:
    """In quotes, where YAML takes the bare word for something else than text."""
    return f'"{name}"' if name in _YAML_WORDS else name
