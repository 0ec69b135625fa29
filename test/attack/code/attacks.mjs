// The attacks of attacks.py that Node.js can try by its own means.
import { spawn } from "node:child_process";
import dgram from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";

async function each(things, attempt) {
  const got = [];
  await Promise.all(things.map(async (t) => {
    try { if (await attempt(t)) got.push(t); } catch { /* refused */ }
  }));
  return got;
}

function readSome(file) {
  const fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    const b = Buffer.alloc(1 << 18);
    return b.subarray(0, fs.readSync(fd, b, 0, b.length, null));
  } finally { fs.closeSync(fd); }
}

const tcp = (options, ms = 700) => new Promise((resolve) => {
  const s = net.connect(options);
  const end = (ok) => { s.destroy(); resolve(ok); };
  s.setTimeout(ms, () => end(false)).on("connect", () => end(true)).on("error", () => end(false));
});

const udp = (host, port) => new Promise((resolve) => {
  const s = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  const end = (ok) => { try { s.close(); } catch { } resolve(ok); };
  s.on("message", () => end(true)).on("error", () => end(false));
  s.send("hello", port, host, (err) => err && end(false));
  setTimeout(() => end(false), 300);
});

const listening = (server, ...where) => new Promise((resolve, reject) => server.on("error", reject).listen(...where, () => resolve(server)));

const attacks = {
  read: ({ paths }) => each(paths, (p) => fs.statSync(p).isDirectory() ? fs.readdirSync(p).length > 0 : readSome(p).length > 0),

  search({ roots, secrets }) {
    const found = new Set(), end = Date.now() + 20000;
    const look = (file) => {
      let data = file;
      try { data += fs.readlinkSync(file); } catch { }
      // Not its own pipes: what is read from them is missing elsewhere.
      try { if (!file.includes("/fd/")) data += readSome(file).toString("latin1"); } catch { }
      secrets.filter((s) => data.includes(s)).forEach((s) => found.add(s));
    };
    const walk = (dir, depth) => {
      let entries = [];
      try { entries = fs.readdirSync(dir, { withFileTypes: true }); } catch { }
      for (const e of entries) {
        if (Date.now() > end) return;
        const file = path.join(dir, e.name);
        look(file);
        if (e.isDirectory() && depth < 6) walk(file, depth + 1);
      }
    };
    roots.forEach((r) => walk(r, 0));
    return [...found];
  },

  write: ({ paths }) => each(paths, (p) => { fs.appendFileSync(p, "x"); return true; }),

  signals() {
    const own = [0, 1, process.pid, process.ppid, ...fs.readdirSync("/proc/self/task").map(Number)];
    return each([...Array(4096).keys()].filter((p) => !own.includes(p)), (p) => process.kill(p, 0));
  },
  child_signal() {
    const child = spawn("sleep", ["9"]);
    try { return each([child.pid], (p) => process.kill(p, 0)); } finally { child.kill("SIGKILL"); }
  },

  reach: ({ targets }) => each(targets, async ([host, port]) => await tcp({ host, port }) || await udp(host, port)),
  async scan({ host, ports }) {
    const got = [];
    for (let from = ports[0]; from <= ports[1]; from += 200) {
      const some = Array.from({ length: Math.min(200, ports[1] - from + 1) }, (_, i) => from + i);
      got.push(...await each(some, (port) => tcp({ host, port }, 400)));
    }
    return got;
  },
  async own_port() {
    const server = await listening(net.createServer(), 0, "127.0.0.1");
    try { return await attacks.reach({ targets: [["127.0.0.1", server.address().port]] }); } finally { server.close(); }
  },
  unix: ({ paths }) => each(paths, (p) => tcp({ path: p.replace(/^@/, "\0") })),
  async own_unix({ path: p }) {
    const server = await listening(net.createServer(), p.replace(/^@/, "\0"));
    try { return await attacks.unix({ paths: [p] }); } finally { server.close(); }
  },

  forge: ({ ids }) => each(ids, async (id) => {
    const root = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/${id}/`;
    const one = await fetch(root + "response", { method: "POST", body: '"forged"' });
    const two = await fetch(root + "error", { method: "POST", body: "{}" });
    return one.status === 202 || two.status === 202;
  }),
};

export const handler = async ({ attack, args }, context) => ({ got: await attacks[attack]({ ...args, me: context.awsRequestId }) });
