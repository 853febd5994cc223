"""A whole instrument host, written from docs/protocol.md alone: pyzmq and the standard library, nothing of Athanor's.

    python foreign_host.py NAME KEYS_FOLDER ENDPOINT_FILE LEDGER_FILE [HEARTBEAT_S]

Its instrument is a toy: `measure` writes a line into its book (LEDGER_FILE.book), waits, and returns a curve.
"""

# fmt: off
import contextlib, fcntl, hashlib, itertools, json, os, struct, sys, time, uuid, zmq
from pathlib import Path

FIELDS = dict(query="command_id", acknowledge="command_id", heartbeat="lease_s", stop="stop_id reason", release="",
              reset="who reason", command="command_id experiment step attempt capability sample parameters seed batch")
CAN = {"name": "measure", "limits": {"seconds": {"low": 0, "high": 60}}, "quantities": {"peak": {"low": 0, "high": 9}}}

class Host:
    def __init__(self, name, keys, endpoints, ledger, beat_s="1"):
        self.name, self.endpoints, self.book, self.beat_s = name, Path(endpoints), Path(f"{ledger}.book"), float(beat_s)
        me, lab = (json.loads(Path(keys, file).read_text()) for file in (f"{name}.key", "registry.json"))
        controller = next(key["public_key"] for key in lab["keys"] if key["role"] == "controller")
        self.key = [z85.encode() for z85 in (me["public_key"], me["secret_key"], controller)]
        self.known, self.ledger = {"": {"epoch": 0, "stop": None}}, open(ledger, "a")  # "" is the host itself
        fcntl.flock(self.ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one process a ledger
        for line in Path(ledger).read_text().split("\n"):
            with contextlib.suppress(ValueError): self.count(*json.loads(line))  # blank, or half written before a kill
        self.session, self.sequence, self.heard, self.last = uuid.uuid4().hex, itertools.count(1), time.monotonic(), {}
        self.sockets, self.found, self.running, self.until, self.next_beat = {}, None, "", 0.0, 0.0
        self.attached = self.leaving = self.halt = False

    def write(self, which, **entry):  # on disk before it counts
        print("\n" + json.dumps([which, entry]), file=self.ledger, flush=True)
        os.fsync(self.ledger.fileno())
        self.count(which, entry)

    def count(self, which, entry): self.known.setdefault(which, {}).update(entry)

    def say(self, channel, verb, frames=(), **body):
        head = {"protocol": 1, "id": uuid.uuid4().hex, "session": self.session, "epoch": self.known[""]["epoch"],
                "sequence": next(self.sequence), "body": {"verb": verb, **body}}
        with contextlib.suppress(zmq.Again, KeyError):  # what cannot leave now is sent or asked for again
            self.sockets[channel].send_multipart([json.dumps(head, allow_nan=False).encode(), *frames], zmq.NOBLOCK)

    def answer(self, verb, i):  # "report" or "known"
        entry = {"state": "absent", "report": None, "curve": "", **self.known.get(i, {})}
        known = {"command_id": i, "state": entry["state"], "active": i == self.running, "report": entry["report"]}
        curve = [bytes.fromhex(entry["curve"])] if entry["report"] else []
        self.say("work", verb, curve, **(known if verb == "known" else entry["report"]))

    def run(self):
        while self.running or not self.leaving:
            if (now := time.monotonic()) >= self.next_beat: self.beat(now, now - self.heard)
            if self.running and (self.halt or now >= self.until): self.finish()
            for channel in [name for name, socket in self.sockets.items() if socket.poll(2)]:  # stop comes first
                self.hear(channel, self.sockets[channel].recv_multipart())
            time.sleep(0.001)

    def beat(self, now, silent_s):
        self.next_beat, self.leaving = now + self.beat_s, self.leaving or silent_s > 600
        self.attached = self.attached and silent_s < 3 * self.beat_s
        with contextlib.suppress(OSError, ValueError):  # no file: no controller
            if (found := json.loads(self.endpoints.read_text())) != self.found or silent_s > 4: self.connect(found)
        state = {"stopped": self.known[""]["stop"] is not None}
        self.say("stop", "heartbeat")
        if not self.attached: return self.say("work", "announce", instrument=self.name, capabilities=[CAN], **state)
        self.say("work", "health", busy=self.running or None, **state)
        for i, entry in self.known.items():
            if entry.get("report") and not entry.get("kept"): self.answer("report", i)

    def connect(self, found):
        self.found, self.attached = found, False
        for channel in ("stop", "work"):
            new = self.sockets[channel] = zmq.Context.instance().socket(zmq.DEALER)  # the old one, forgotten, closes
            new.curve_publickey, new.curve_secretkey, new.curve_serverkey, new.linger, new.immediate = *self.key, 0, 1
            new.connect(found[channel])

    def hear(self, channel, frames):
        try:
            head = json.loads(frames[0])
            body, epoch, new = head["body"], int(head["epoch"]), (head["session"], int(head["sequence"]))
            verb, i = body.pop("verb"), body.get("command_id", "")
            if head["protocol"] != 1 or frames[1:] or {*body, "batch"} != {*FIELDS[verb].split(), "batch"}: return
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError): return  # not the protocol's: dropped
        old, self.last[channel] = self.last.get(channel, ("", -1)), new
        if old[0] == new[0] and old[1] >= new[1]: return self.last.update({channel: old})  # a replay
        if verb == "stop":  # whatever the epoch
            self.halt = True
            self.write("", stop=body["reason"])
            return self.say("stop", "stopped", stop_id=body["stop_id"])
        if epoch < self.known[""]["epoch"]:
            mine = None if verb != "command" or i in self.known else i  # to name it promises that it was not executed
            return self.say("work", "refused", command_id=mine, reason=f"epoch {epoch} is over")
        if epoch > self.known[""]["epoch"]: self.write("", epoch=epoch)
        self.heard = time.monotonic()
        for k in {*head.get("acknowledges", []), *[i][verb != "acknowledge":]} & {*self.known}: self.write(k, kept=1)
        if verb == "heartbeat" and channel == "work": self.attached = body["lease_s"] > 0
        elif verb == "query": self.answer("known", i)
        elif verb == "reset": self.write("", stop=None)
        elif verb == "release": self.leaving = True
        elif verb == "command": self.command(i, body)

    def command(self, i, body):
        s, entry, why = body["parameters"].get("seconds", 0), self.known.get(i), ""
        if entry and entry["command"] != body: why = "known with another content"
        elif entry: return self.answer("report" if entry.get("report") else "known", i)
        elif self.known[""]["stop"] is not None or self.leaving: why = "stopped, or ending"
        elif body["capability"] != "measure" or type(s) not in (int, float) or not 0 <= s <= 60: why = "limits"
        elif self.running: why = "busy"
        if why: return self.say("work", "refused", command_id=i, reason=why, retry=why == "busy")
        self.write(i, state="started", command=body)
        with self.book.open("a") as book: book.write(f"{i}\n")  # the physical act
        self.running, self.until, self.halt = i, time.monotonic() + s, False
        self.say("work", "accepted", command_id=i)

    def finish(self):
        i, halted, curve = self.running, self.halt, struct.pack("<100d", *(x * (99 - x) / 2450 for x in range(100)))
        head = {"name": "curve", "dtype": "float64", "shape": [100], "sha256": hashlib.sha256(curve).hexdigest()}
        report = {"status": "failed" if halted else "ok", "stopped": halted, "readings": {"peak": 1}, "arrays": [head]}
        self.write(i, state="done", report={"command_id": i, **report}, curve=curve.hex())
        self.running, self.next_beat = "", 0.0

if __name__ == "__main__": Host(*sys.argv[1:]).run()
