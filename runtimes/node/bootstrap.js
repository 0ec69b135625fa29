// The Node.js runtime client: loads the handler, then asks the Runtime API for one event after
// another. What a function sees (context, console, errors) is what AWS's client shows it.
'use strict';

const { RuntimeAPI } = require('./api.js');
const { patchConsole, logError, setRequestId } = require('./console.js');
const { load, STREAMING } = require('./handler.js');
const { UnhandledPromiseRejection, CallbackHandlerDeprecated } = require('./errors.js');
const { invocation } = require('./invocation.js');

// The sandbox gives the first process a HOME, AWS does not; a function's own HOME stays.
if (process.env.HOME === '/home/sbx_user1051') delete process.env.HOME;

// AWS starts node with --expose-gc. Here gc is there from its first use on: V8 takes no code from its
// cache when it is started with that flag, and a cold start compiles all of node's own modules.
process.execArgv.unshift('--expose-gc');
Object.defineProperty(globalThis, 'gc', {
  enumerable: true,
  configurable: true,
  get() {
    require('node:v8').setFlagsFromString('--expose-gc');
    return (globalThis.gc = require('node:vm').runInNewContext('gc'));
  },
  set(value) {
    Object.defineProperty(globalThis, 'gc', { enumerable: true, configurable: true, writable: true, value });
  },
});

const api = new RuntimeAPI(process.env.AWS_LAMBDA_RUNTIME_API);

// onFault reports what nobody caught: to init/error first, to the invocation's error later.
let onFault = (error, status) => api.initError(error).finally(() => process.exit(status));
let onDrained = () => {};

function watch() {
  process.on('uncaughtException', (error) => {
    logError('Uncaught Exception', error);
    onFault(error, 129);
  });
  process.on('unhandledRejection', (reason, promise) => {
    const error = new UnhandledPromiseRejection(reason, promise);
    logError('Unhandled Promise Rejection', error);
    onFault(error, 128);
  });
  // The event loop ran empty: that is when a callback's answer leaves, and when a handler
  // that never answers is answered for with null.
  process.on('beforeExit', () => onDrained());
}

// What goes wrong in the client's own promises is an uncaught exception, as AWS's client has it
// (its main module awaits at top level); an unhandled rejection is the function's.
const raise = (error) => process.nextTick(() => { throw error; });

async function main() {
  patchConsole();
  watch();
  const handler = await load(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
  if (Number(process.versions.node.split('.')[0]) >= 24 && handler.length >= 3 && !handler[STREAMING]) {
    // AWS: callback handlers went with Node.js 24 (Runtime.CallbackHandlerDeprecated).
    throw new CallbackHandlerDeprecated();
  }
  next(handler).catch(raise);
}

// next takes one event and runs the handler on it; done starts the following round.
async function next(handler) {
  const event = await api.next();
  setRequestId(event.id);
  if (event.trace) process.env._X_AMZN_TRACE_ID = event.trace;
  else delete process.env._X_AMZN_TRACE_ID;
  const round = {
    event,
    api,
    onDrained: (f) => { onDrained = f ?? (() => {}); },
    // A turn of the event loop passes first, so that what the handler left behind can run.
    done: () => { onDrained = () => {}; setImmediate(() => next(handler).catch(raise)); },
  };
  onFault = (error, status) => api.error(event.id, error).finally(() => process.exit(status));
  if (handler[STREAMING]) require('./stream.js').stream(handler, round);
  else invocation(handler, round);
}

main().catch(raise);
