// console as Lambda has it: time, request id and level before each message, and each message one
// log event however many lines it has (a frame on the telemetry descriptor, else "\r" for "\n").
'use strict';

const fs = require('node:fs');
const util = require('node:util');
const { toLog } = require('./errors.js');

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
const TEXT_FRAME = 0xa55a0003; // the level stands in the bits above the lowest two

let requestId;

function setRequestId(id) { requestId = id; }

function patchConsole() {
  const fd = process.env._LAMBDA_TELEMETRY_LOG_FD;
  delete process.env._LAMBDA_TELEMETRY_LOG_FD;
  const write = fd === undefined ? toStdout : toFrames(Number(fd));
  const at = (level) => (message, ...rest) => {
    const time = new Date();
    write(time, level, `${time.toISOString()}\t${requestId}\t${level}\t${util.format(message, ...rest)}`);
  };
  console.trace = at('TRACE');
  console.debug = at('DEBUG');
  console.info = at('INFO');
  console.log = console.info;
  console.warn = at('WARN');
  console.error = at('ERROR');
  console.fatal = at('FATAL');
}

function toStdout(_time, _level, line) {
  process.stdout.write(line.replace(/\n/g, '\r') + '\n');
}

function toFrames(fd) {
  return (time, level, line) => {
    const message = Buffer.from(line + '\n', 'utf8');
    const frame = Buffer.alloc(16 + message.length);
    frame.writeUInt32BE((TEXT_FRAME | (LEVELS[level] << 2)) >>> 0, 0);
    frame.writeUInt32BE(message.length, 4);
    frame.writeBigUInt64BE(BigInt(time.valueOf()) * 1000n, 8);
    message.copy(frame, 16);
    for (let sent = 0; sent < frame.length;) sent += fs.writeSync(fd, frame, sent);
  };
}

// logError writes an error as AWS's client does: "Invoke Error", a tab, the error as JSON.
function logError(title, error) {
  console.error(title, toLog(error instanceof Error ? error : new Error(error)));
}

module.exports = { patchConsole, logError, setRequestId };
