// Finds the handler: "dir/file.export.nested" below the task root, CommonJS or an ES module.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const {
  HandlerNotFound, ImportModuleError, MalformedHandlerName, MalformedStreamingHandler, UserCodeSyntaxError,
} = require('./errors.js');

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');

async function load(root, full) {
  if (full.includes('..')) {
    throw new MalformedHandlerName(`'${full}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(full);
  const folder = full.slice(0, full.indexOf(base));
  const split = /^([^.]*)\.(.*)$/.exec(base);
  if (!split) throw new MalformedHandlerName('Bad handler');
  defineGlobal();
  const module = await loadModule(path.resolve(root, folder), split[1]);
  const handler = split[2].split('.').reduce((object, key) => object && object[key], module);
  if (!handler) throw new HandlerNotFound(`${full} is undefined or not exported`);
  if (typeof handler !== 'function') throw new HandlerNotFound(`${full} is not a function`);
  if (handler[STREAMING] && handler[STREAMING] !== 'response') {
    throw new MalformedStreamingHandler('Only response streaming is supported.');
  }
  return handler;
}

async function loadModule(folder, name) {
  try {
    return await find(folder, name);
  } catch (error) {
    if (error instanceof SyntaxError) throw new UserCodeSyntaxError(error);
    if (error?.code === 'MODULE_NOT_FOUND') throw new ImportModuleError(error);
    throw error;
  }
}

// find tries what AWS's client tries, in its order: name, name.js, name.mjs, name.cjs, then as
// node would resolve it.
async function find(folder, name) {
  const file = path.resolve(folder, name);
  if (fs.existsSync(file)) return require(file);
  const esm = fs.existsSync(file + '.js') && inModulePackage(folder);
  if (!esm && fs.existsSync(file + '.js')) return require(file + '.js');
  if (esm) return import(file + '.js');
  if (fs.existsSync(file + '.mjs')) return import(file + '.mjs');
  if (fs.existsSync(file + '.cjs')) return require(file + '.cjs');
  return require(require.resolve(name, { paths: [process.env.LAMBDA_TASK_ROOT, folder] }));
}

// inModulePackage tells whether the nearest package.json says "type": "module".
function inModulePackage(folder) {
  for (let dir = folder; !dir.endsWith('/node_modules'); dir = path.dirname(dir)) {
    const file = path.join(dir, 'package.json');
    if (fs.existsSync(file)) {
      try {
        return JSON.parse(fs.readFileSync(file)).type === 'module';
      } catch (error) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (dir === '/') return false;
  }
  return false;
}

// defineGlobal gives code the awslambda global that marks streaming handlers.
function defineGlobal() {
  globalThis.awslambda = {
    streamifyResponse(handler) {
      handler[STREAMING] = 'response';
      return handler;
    },
    HttpResponseStream: {
      from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        stream.prelude(JSON.stringify(prelude));
        return stream;
      },
    },
  };
}

module.exports = { load, STREAMING };
