"""openai-manager's calls, through the fleet: `import keyfleet.openai_manager as openai_manager`."""

from keyfleet.openai_manager import exceptions, utils
from keyfleet.openai_manager.resources import ChatCompletion, Completion, Embedding
from keyfleet.openai_manager.responses import FailedResponse, Response
from keyfleet.openai_manager.session import append_auth_from_config

__all__ = [
    "ChatCompletion",
    "Completion",
    "Embedding",
    "FailedResponse",
    "Response",
    "append_auth_from_config",
    "exceptions",
    "utils",
]
