// The Runtime API over one kept connection. It speaks the little HTTP the API needs by itself:
// loading node:http costs a cold start more than the whole exchange.
'use strict';

const net = require('node:net');
const { toPayload } = require('./errors.js');

const BASE = '/2018-06-01/runtime';

class RuntimeAPI {
  constructor(address) {
    const colon = address.lastIndexOf(':');
    this.host = address.slice(0, colon);
    this.port = Number(address.slice(colon + 1));
    this.address = address;
    this.socket = null;
  }

  // next waits for an event: {id, deadline, arn, trace, clientContext, identity, body}.
  async next() {
    const { status, headers, body } = await this.request('GET', '/invocation/next');
    if (status !== 200) throw new Error(`the Runtime API answered ${status}: ${body}`);
    return {
      id: headers['lambda-runtime-aws-request-id'],
      deadline: Number(headers['lambda-runtime-deadline-ms']),
      arn: headers['lambda-runtime-invoked-function-arn'],
      trace: headers['lambda-runtime-trace-id'],
      clientContext: headers['lambda-runtime-client-context'],
      identity: headers['lambda-runtime-cognito-identity'],
      body: body.toString('utf8'),
    };
  }

  response(id, body, type = 'application/json') {
    return this.request('POST', `/invocation/${encodeURIComponent(id)}/response`, body, { 'Content-Type': type });
  }

  error(id, error) {
    return this.fault(`/invocation/${encodeURIComponent(id)}/error`, error);
  }

  initError(error) {
    return this.fault('/init/error', error);
  }

  fault(path, error) {
    const payload = toPayload(error);
    const type = String(payload.errorType).replace(/[^\x20-\x7e]/g, '?');
    return this.request('POST', path, JSON.stringify(payload), {
      'Content-Type': 'application/vnd.aws.lambda.error+json',
      'Lambda-Runtime-Function-Error-Type': type,
    });
  }

  async request(method, path, body, headers = {}) {
    const bytes = body === undefined ? null : Buffer.from(body);
    let head = `${method} ${BASE}${path} HTTP/1.1\r\nHost: ${this.address}\r\n`;
    for (const [k, v] of Object.entries(headers)) head += `${k}: ${v}\r\n`;
    if (bytes) head += `Content-Length: ${bytes.length}\r\n`;
    head += '\r\n';
    const socket = await this.connected();
    // While an answer is awaited the connection keeps the process alive; between, it must
    // not, or the event loop never runs empty.
    socket.ref();
    try {
      return await exchange(socket, bytes ? Buffer.concat([Buffer.from(head), bytes]) : head);
    } catch (error) {
      socket.destroy();
      this.socket = null;
      throw error;
    } finally {
      socket.unref();
    }
  }

  connected() {
    if (this.socket && !this.socket.destroyed) return this.socket;
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: this.host, port: this.port, noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        socket.on('error', () => { this.socket = null; });
        socket.on('close', () => { this.socket = null; });
        this.socket = socket;
        resolve(socket);
      });
    });
  }
}

// exchange writes one request and reads its one answer.
function exchange(socket, request) {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const end = (settle, value) => {
      socket.off('data', onData);
      socket.off('error', onError);
      socket.off('close', onClose);
      settle(value);
    };
    const onData = (chunk) => {
      seen = seen.length ? Buffer.concat([seen, chunk]) : chunk;
      try {
        const answer = parse(seen);
        if (answer) end(resolve, answer);
      } catch (error) {
        end(reject, error);
      }
    };
    const onError = (error) => end(reject, error);
    const onClose = () => end(reject, new Error('the Runtime API closed the connection'));
    socket.on('data', onData);
    socket.once('error', onError);
    socket.once('close', onClose);
    socket.write(request);
  });
}

// parse gives the answer in bytes, or null while it is not complete.
function parse(bytes) {
  const split = bytes.indexOf('\r\n\r\n');
  if (split < 0) return null;
  const lines = bytes.toString('latin1', 0, split).split('\r\n');
  const status = Number(lines[0].split(' ')[1]);
  const headers = {};
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const rest = bytes.subarray(split + 4);
  if (headers['transfer-encoding'] === 'chunked') {
    const body = dechunk(rest);
    return body && { status, headers, body };
  }
  const length = Number(headers['content-length'] ?? 0);
  return rest.length < length ? null : { status, headers, body: rest.subarray(0, length) };
}

function dechunk(bytes) {
  const parts = [];
  for (let at = 0; ;) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return null;
    const size = parseInt(bytes.toString('latin1', at, line), 16);
    if (bytes.length < line + 2 + size + 2) return null;
    if (size === 0) return Buffer.concat(parts);
    parts.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

module.exports = { RuntimeAPI };
