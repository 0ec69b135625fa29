// A streaming handler's invocation. It is loaded for such a handler only: node:stream costs the cold
// start of any other as much as reading its code.
'use strict';

const { Writable } = require('node:stream');
const { logError } = require('./console.js');
const { contextOf } = require('./invocation.js');

// stream runs a streaming handler. The whole answer is sent at its end, as Invoke wants it.
async function stream(handler, round) {
  const { event, api } = round;
  const out = new ResponseStream();
  const finished = new Promise((resolve) => out.on('finish', resolve));
  round.onDrained(() => fail(new Error('Response stream is not finished.')));
  const fail = (error) => {
    logError('Invoke Error', error);
    return api.error(event.id, error).then(round.done);
  };
  try {
    const pending = handler(JSON.parse(event.body), out, contextOf(event, { callbackWaitsForEmptyEventLoop: true }));
    if (!pending || typeof pending.then !== 'function') throw new Error('Streaming does not support non-async handlers.');
    if (await pending !== undefined) console.warn('Streaming handlers ignore return values.');
    await finished;
    round.onDrained(null);
    await api.response(event.id, Buffer.concat(out.chunks), out.contentType);
    round.done();
  } catch (error) {
    round.onDrained(null);
    await fail(error);
  }
}

class ResponseStream extends Writable {
  constructor() {
    super({ decodeStrings: true });
    this.chunks = [];
    this.contentType = 'application/octet-stream';
  }

  setContentType(type) { this.contentType = type; }

  // prelude goes before the body, eight zero bytes between them.
  prelude(json) { this.chunks.push(Buffer.from(json), Buffer.alloc(8)); }

  write(chunk, ...rest) {
    const plain = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(plain ? chunk : JSON.stringify(chunk), ...rest);
  }

  _write(chunk, _encoding, done) {
    this.chunks.push(chunk);
    done();
  }
}

module.exports = { stream };
