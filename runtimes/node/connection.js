// A TCP connection by node's own handle (what node:net is made of). One reader at a time.
'use strict';

// node deprecates this door in its documentation only; NODE_OPTIONS=--pending-deprecation says so aloud.
const { noDeprecation } = process;
process.noDeprecation = true;
const { TCP, TCPConnectWrap, constants } = process.binding('tcp_wrap');
const { WriteWrap, kArrayBufferOffset, kReadBytesOrError, kLastWriteWasAsync, streamBaseState } = process.binding('stream_wrap');
process.noDeprecation = noDeprecation;

const failed = (what, code) => Object.assign(new Error(`${what} the Runtime API: error ${code}`), { errno: code });

class Connection {
  constructor(handle) {
    this.handle = handle;
    this.open = true;
    this.chunks = [];
    this.reader = null;
    this.error = null;
    handle.onread = (buffer) => this.#take(buffer);
    handle.readStart();
  }

  // to connects to HOST:PORT; HOST is an address.
  static to(address) {
    const colon = address.lastIndexOf(':');
    return new Promise((resolve, reject) => {
      const handle = new TCP(constants.SOCKET);
      const request = new TCPConnectWrap();
      request.oncomplete = (status) => {
        if (status === 0) return resolve(new Connection(handle));
        handle.close();
        reject(failed('connect to', status));
      };
      handle.setNoDelay(true);
      const status = handle.connect(request, address.slice(0, colon), Number(address.slice(colon + 1)));
      if (status !== 0) reject(failed('connect to', status));
    });
  }

  // write settles when the kernel has the bytes.
  write(bytes) {
    return new Promise((resolve, reject) => {
      const request = new WriteWrap();
      request.handle = this.handle;
      request.bytes = bytes; // held until they are written
      request.oncomplete = (status) => (status < 0 ? reject(failed('write to', status)) : resolve());
      const status = this.handle.writeBuffer(request, bytes);
      if (status !== 0) reject(failed('write to', status));
      else if (!streamBaseState[kLastWriteWasAsync]) resolve();
    });
  }

  // read gives the next bytes that arrive; it fails when the other side has closed.
  read() {
    if (this.chunks.length) return this.chunks.shift();
    if (this.error) throw this.error;
    return new Promise((resolve, reject) => { this.reader = { resolve, reject }; });
  }

  #take(buffer) {
    const { reader } = this;
    const count = streamBaseState[kReadBytesOrError];
    if (count === 0) return;
    this.reader = null;
    if (count > 0) {
      const chunk = Buffer.from(buffer, streamBaseState[kArrayBufferOffset], count);
      if (reader) reader.resolve(chunk);
      else this.chunks.push(chunk);
    } else {
      this.error = failed('read from', count);
      this.close();
      reader?.reject(this.error);
    }
  }

  ref() { if (this.open) this.handle.ref(); }

  unref() { if (this.open) this.handle.unref(); }

  close() {
    if (!this.open) return;
    this.open = false;
    this.handle.close();
  }
}

module.exports = { Connection };
