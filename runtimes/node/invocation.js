// One invocation: the context object, the ways a handler may answer, and the answer's way back.
'use strict';

const { logError } = require('./console.js');

// invocation runs an ordinary handler; its promise, callback or context method answers, once.
function invocation(handler, round) {
  const { event, api } = round;
  let waitForEmptyLoop = true;
  let answered = false;
  let sent = false;

  const once = (f) => (...args) => {
    if (answered) return;
    answered = true;
    round.onDrained(null);
    f(...args);
  };
  const fail = (error) => {
    logError('Invoke Error', error);
    api.error(event.id, error).then(round.done);
  };
  const complete = (result) => {
    if (sent) return;
    sent = true;
    let body;
    try {
      body = JSON.stringify(result === undefined ? null : result);
    } catch {
      fail(new Error('Unable to stringify response body'));
      return;
    }
    // A function or a symbol has no JSON; AWS's client sends undefined for it, which is empty.
    api.response(event.id, body ?? '').then(round.done);
  };
  const isSet = (error) => error !== undefined && error !== null;
  const callback = once((error, result) => {
    if (isSet(error)) fail(error);
    else if (waitForEmptyLoop) round.onDrained(() => setImmediate(complete, result));
    else complete(result);
  });
  const done = once((error, result) => (isSet(error) ? fail(error) : complete(result)));

  round.onDrained(() => { answered = true; complete(null); });
  try {
    const context = contextOf(event, {
      get callbackWaitsForEmptyEventLoop() { return waitForEmptyLoop; },
      set callbackWaitsForEmptyEventLoop(value) { waitForEmptyLoop = value; },
      succeed: (result) => done(null, result),
      fail: (error) => done(isSet(error) ? error : 'handled'),
      done: (error, result) => done(error, result),
    });
    const result = handler(JSON.parse(event.body), context, callback);
    if (result && typeof result.then === 'function') result.then(context.succeed, context.fail).catch(context.fail);
  } catch (error) {
    callback(error);
  }
}

function contextOf(event, methods) {
  const fields = {
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parse(event.clientContext, 'ClientContext'),
    identity: parse(event.identity, 'CognitoIdentity'),
    invokedFunctionArn: event.arn,
    awsRequestId: event.id,
    getRemainingTimeInMillis: () => event.deadline - Date.now(),
  };
  return Object.assign(methods, fields);
}

function parse(json, name) {
  if (json === undefined) return undefined;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`Cannot parse ${name} as json: ${error}`);
  }
}

module.exports = { invocation, contextOf };
