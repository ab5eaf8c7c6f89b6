"""openai-manager's exceptions, as names of Keyfleet's own: code that catches them goes on to do so."""

from keyfleet.errors import ConfigurationError, KeyfleetError, RequestFailed

__all__ = ["AttemptsExhaustedException", "ManagerException", "NoAvailableAuthException"]

ManagerException = KeyfleetError
NoAvailableAuthException = ConfigurationError
AttemptsExhaustedException = RequestFailed
