// The errors of the runtime itself, and how any error is written for Lambda and for the log.
'use strict';

const util = require('node:util');

const named = (name) => {
  const type = class extends Error {};
  type.prototype.name = `Runtime.${name}`;
  return type;
};

const ImportModuleError = named('ImportModuleError');
const HandlerNotFound = named('HandlerNotFound');
const MalformedHandlerName = named('MalformedHandlerName');
const UserCodeSyntaxError = named('UserCodeSyntaxError');
const MalformedStreamingHandler = named('MalformedStreamingHandler');

class UnhandledPromiseRejection extends Error {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}
UnhandledPromiseRejection.prototype.name = 'Runtime.UnhandledPromiseRejection';

class CallbackHandlerDeprecated extends Error {
  constructor() {
    super('ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. '
      + 'You need to modify this function to use a supported handler signature to use Node.js 24 or later. '
      + 'For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.');
  }
}
CallbackHandlerDeprecated.prototype.name = 'Runtime.CallbackHandlerDeprecated';

// DEL may not stand in an HTTP header, and AWS's client writes it like this everywhere.
const printable = (s) => s?.replace(/\x7F/g, '%7F');

const isError = (e) => util.types.isNativeError(e)
  || (e && typeof e.name === 'string' && typeof e.message === 'string' && typeof e.stack === 'string');

// toPayload is what an invoker gets: {errorType, errorMessage, trace}.
function toPayload(error) {
  try {
    if (isError(error)) {
      return {
        errorType: printable(error.name),
        errorMessage: printable(error.message),
        trace: printable(error.stack).split('\n'),
      };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
    };
  }
}

// toLog is the JSON that follows "Invoke Error" and its like in the log.
function toLog(error) {
  try {
    return '\t' + JSON.stringify(error, (_key, value) => {
      if (!(value instanceof Error)) return value;
      const shown = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
      if (typeof value.stack === 'string') shown.stack = value.stack.split('\n');
      return shown;
    });
  } catch {
    return '\t' + JSON.stringify(toPayload(error));
  }
}

module.exports = {
  ImportModuleError, HandlerNotFound, MalformedHandlerName, UserCodeSyntaxError,
  MalformedStreamingHandler, UnhandledPromiseRejection, CallbackHandlerDeprecated, toPayload, toLog,
};
