"""Settings, and the configuration of keys without their secrets."""

from keyfleet.config.environment import Environment
from keyfleet.config.environment_keys import environment_keys
from keyfleet.config.given_keys import GivenKeys, write_given_keys
from keyfleet.config.key_config import (
    DEFAULT_AZURE_API_VERSION,
    DEFAULT_BASE_URLS,
    PROVIDERS,
    REFUNDS,
    KeyConfig,
    Provider,
)
from keyfleet.config.keyfile import check_variables, load_keys_file
from keyfleet.config.keys_check import keys_warnings
from keyfleet.config.keys_watch import KeysWatch
from keyfleet.config.model_limits import (
    UNITS,
    ModelLimits,
    Unit,
    best_pattern,
    is_pattern,
    parse_limits,
    scaled_amount,
)
from keyfleet.config.model_settings import ANY_MODEL, GroupSettings, ModelSettings, Pool, PoolLevel
from keyfleet.config.notation import parse_duration_s, parse_percentage, parse_size_bytes
from keyfleet.config.redaction import HIDDEN, hide_secret, redact_url
from keyfleet.config.references import ProxyUrl, SecretReference, check_proxy_url
from keyfleet.config.settings import Settings, check_broker_url, check_fleet, parse_log_level
from keyfleet.config.sources import KEYS_FILE_NAMES, KeySource, find_keys

__all__ = [
    "ANY_MODEL",
    "DEFAULT_AZURE_API_VERSION",
    "DEFAULT_BASE_URLS",
    "HIDDEN",
    "KEYS_FILE_NAMES",
    "PROVIDERS",
    "REFUNDS",
    "UNITS",
    "Environment",
    "GivenKeys",
    "GroupSettings",
    "KeyConfig",
    "KeySource",
    "KeysWatch",
    "ModelLimits",
    "ModelSettings",
    "Pool",
    "PoolLevel",
    "Provider",
    "ProxyUrl",
    "SecretReference",
    "Settings",
    "Unit",
    "best_pattern",
    "check_broker_url",
    "check_fleet",
    "check_proxy_url",
    "check_variables",
    "environment_keys",
    "find_keys",
    "hide_secret",
    "is_pattern",
    "keys_warnings",
    "load_keys_file",
    "parse_duration_s",
    "parse_limits",
    "parse_log_level",
    "parse_percentage",
    "parse_size_bytes",
    "redact_url",
    "scaled_amount",
    "write_given_keys",
]
