// The Runtime API over one kept connection. It speaks the little HTTP the API needs by itself, over
// node's own TCP handle: loading node:net costs a cold start more than the whole exchange, and
// node:http once more. A function that needs them loads them.
'use strict';

const { Connection } = require('./connection.js');
const { toPayload } = require('./errors.js');

const BASE = '/2018-06-01/runtime';

class RuntimeAPI {
  constructor(address) {
    this.address = address;
    this.connection = null;
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
    if (!this.connection?.open) this.connection = await Connection.to(this.address);
    return exchange(this.connection, bytes ? Buffer.concat([Buffer.from(head), bytes]) : Buffer.from(head));
  }
}

// exchange writes one request and reads its one answer. Only while it is under way the connection
// keeps the process alive: the event loop must be able to run empty.
async function exchange(connection, request) {
  connection.ref();
  try {
    await connection.write(request);
    for (let parts = [], size = 0, enough = 0; ;) {
      const chunk = await connection.read();
      parts.push(chunk);
      size += chunk.length;
      if (size < enough) continue;
      if (parts.length > 1) parts = [Buffer.concat(parts)];
      const answer = parse(parts[0]);
      if (typeof answer !== 'number') return answer;
      enough = answer;
    }
  } catch (error) {
    connection.close();
    throw error;
  } finally {
    connection.unref();
  }
}

// parse gives the answer in bytes, or how many bytes it needs as far as is known.
function parse(bytes) {
  const split = bytes.indexOf('\r\n\r\n');
  if (split < 0) return 0;
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
    return body ? { status, headers, body } : 0;
  }
  const length = Number(headers['content-length'] ?? 0);
  return rest.length < length ? split + 4 + length : { status, headers, body: rest.subarray(0, length) };
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
