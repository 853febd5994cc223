"""Every listening socket of a process tree, and a stranger who knocks at each without credentials."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from dataclasses import dataclass

import psutil
import zmq

HTTP_KNOCKS = (
    ("POST", "/api/jobs/", '{"entrypoint": "touch /tmp/pwned"}'),
    ("GET", "/api/jobs/", None),
    ("GET", "/api/version", None),
    ("POST", "/get_runtime_envs_info", ""),
    ("GET", "/metrics", None),
    ("GET", "/", None),
)
RPC_KNOCKS = (  # an empty request is a valid one for each; where a service is another's, it is not implemented there
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.NodeManagerService/GetSystemConfig",
    "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.ObjectManagerService/FreeObjects",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.CoreWorkerService/Exit",
)


@dataclass(frozen=True)
class Listener:
    """A socket that listens (TCP) or is bound (UDP)."""

    process: str
    address: str
    port: int

    @property
    def on_loopback(self) -> bool:
        ip = ipaddress.ip_address(self.address.partition("%")[0])
        return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def processes(*roots: int) -> list[psutil.Process]:
    """These processes and all that descend from them."""
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        try:
            root = psutil.Process(pid)
            found.update({p.pid: p for p in [root, *root.children(recursive=True)]})
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def listeners(*roots: int) -> list[Listener]:
    """Everything that listens in these processes and what descends from them."""
    found = []
    for process in processes(*roots):
        try:
            connections, words = process.net_connections("inet"), " ".join(process.cmdline()).strip()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        for one in connections:
            if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr):
                found.append(Listener(f"{process.pid} {words}", one.laddr.ip, one.laddr.port))
    return found


def http_answers(port: int) -> list[str]:
    """What HTTP gives away without credentials: every answer that is not a refusal."""
    given = []
    for method, path, body in HTTP_KNOCKS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request(method, path, body)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            break  # no HTTP is spoken here
        finally:
            connection.close()
        if status not in (401, 403, 404, 405):
            given.append(f"HTTP {method} {path}: {status}")
    return given


def rpc_answers(port: int, token: str = "", methods: tuple[str, ...] = RPC_KNOCKS) -> dict[str, str]:
    """gRPC method -> status code, for every method that is served here at all."""
    import grpc

    metadata = [("authorization", f"Bearer {token}")] if token else []
    codes = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in methods:
            call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
            try:
                call(b"", timeout=2, metadata=metadata)
                codes[method] = "OK"
            except grpc.RpcError as error:
                code = error.code().name  # type: ignore[attr-defined]
                if code == "UNAVAILABLE":
                    break  # no gRPC is spoken here
                if code != "UNIMPLEMENTED":
                    codes[method] = code
    return codes


def zmtp_answers(port: int) -> list[bytes]:
    """What a ZeroMQ socket says to somebody without a key."""
    context = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.linger = 0
    try:
        stranger.connect(f"tcp://127.0.0.1:{port}")
        stranger.send_multipart([b'{"protocol": 1}'])
        return stranger.recv_multipart() if stranger.poll(300) else []
    finally:
        stranger.close(0)
        context.destroy(0)


def raw_answer(port: int, junk: bytes) -> bytes:
    """The first bytes that plain TCP answers to junk."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as raw:
            raw.sendall(junk)
            raw.settimeout(0.3)
            return raw.recv(4096)
    except OSError:
        return b""
