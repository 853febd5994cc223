"""Ray's doors. A private Ray listens on loopback only and to its own token; a cluster is joined with a token.

Ray reads these settings when it is imported: call ``shut_private`` or ``shut_cluster`` before the first ``import ray``.
What listens where, and how that is tested: ``docs/security.md``.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from actors.errors import ComputeLost

LOOPBACK = "127.0.0.1"
CLUSTER_TOKEN = Path("~/.ray/auth_token")


@functools.cache
def private_folder() -> Path:
    """Where this process's private Ray keeps its token and, in ``ray``, its local sockets and logs.

    Nobody else may look into it. Ray opens the folder that it is given to everybody: hence a folder within. It is in
    ``/tmp``, whatever ``TMPDIR`` says, since the path of a local socket must be short; gone when this process ends.
    """
    folder = Path(tempfile.mkdtemp(prefix="athanor-ray-", dir="/tmp"))  # mode 0700
    descriptor = os.open(folder / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def shut_private() -> None:
    """Set the environment of a private Ray."""
    # Where Ray thinks that it cannot be a cluster, its node is 127.0.0.1, and everything listens there and nowhere
    # else. Otherwise it replaces the loopback address that it is given by one that others can reach.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(private_folder() / "token")
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go before the file


def check_private(ray: Any) -> None:
    """Raise ComputeLost unless the private Ray that has been started is shut."""
    from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

    address = ray.util.get_node_ip_address()
    if address != LOOPBACK:
        raise ComputeLost(f"the private Ray listens on {address}: this program was loaded after another had loaded Ray")
    if get_authentication_mode() != AuthenticationMode.TOKEN:
        raise ComputeLost("the private Ray asks for no token: this program was loaded after another had loaded Ray")


def shut_cluster() -> None:
    """Join clusters with a token, unless ``RAY_AUTH_MODE`` says otherwise. Raises ComputeLost: others can read it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] != "token" or "RAY_AUTH_TOKEN" in os.environ:
        return
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or CLUSTER_TOKEN).expanduser()
    if not file.exists():
        raise ComputeLost(
            f"the cluster's token is missing: copy it to {file} (mode 0600), or set RAY_AUTH_TOKEN_PATH; "
            "docs/cluster.md tells how a cluster is started with one"
        )
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise ComputeLost(f"{file} has mode {mode:04o}: others could use the cluster's token; run: chmod 600 {file}")
