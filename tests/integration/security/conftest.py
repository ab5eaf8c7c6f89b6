"""Jobs and workers as real processes, and brokers that let in only whom they know."""

from __future__ import annotations

import pytest

from support.acl_users import guarded
from support.fixtures import broker, place, start_sim
from support.tls_front import Certificates

__all__ = ["broker", "certificates", "guarded", "place", "start_sim"]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of the tests' own."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
