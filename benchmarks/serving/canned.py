"""A server that answers every read with the same bytes: python -m benchmarks.serving.canned.

What a load generator reaches against it is what the generator can do, not what a server can.
"""

import select
import socket

CANNED = b'{"model_name":"none","outputs":[{"name":"none","datatype":"INT64","data":[1]}]}'

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(CANNED), CANNED)


def main() -> None:
    """Print the port, then answer until killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    peers: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in epoll.poll():
            if descriptor == listener.fileno():
                peer, _ = listener.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[peer.fileno()] = peer
                epoll.register(peer.fileno(), select.EPOLLIN)
            elif not _answer(peers[descriptor]):
                peers.pop(descriptor).close()


def _answer(peer: socket.socket) -> bool:
    try:
        if not peer.recv(65536):
            return False
        peer.send(ANSWER)
    except ConnectionError:
        return False
    return True


if __name__ == "__main__":
    main()
