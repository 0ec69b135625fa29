# What the others are after: a secret in code-secret.txt, in the environment, in /tmp and in memory;
# a port on every address, a datagram port, sockets with names. It counts who comes.
import os, socket, threading, time

in_memory = os.environ["SECRET"] + "-in-memory"
visitors = []
with open("/tmp/secret", "w") as f:
    f.write(os.environ["SECRET"] + "-in-tmp")


def serve(s, datagrams=False):
    def loop():
        while True:
            if datagrams:
                data, who = s.recvfrom(64)
                s.sendto(data, who)
            else:
                c, who = s.accept()
                c.close()
            visitors.append(str(who))
    threading.Thread(target=loop, daemon=True).start()


def unix(name):
    s = socket.socket(socket.AF_UNIX)
    s.bind(name)
    s.listen()
    return s


serve(socket.create_server(("0.0.0.0", 5000)))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("0.0.0.0", 5000))
serve(datagrams, True)
serve(unix("/tmp/socket"))
serve(unix("\0victim"))


def handler(event, context):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("169.254.100.1", 53))
    time.sleep(event["seconds"])
    return {"id": context.aws_request_id, "address": out.getsockname()[0], "visitors": visitors,
            "tmp": sorted(os.listdir("/tmp")), "secret": open("/tmp/secret").read()}
