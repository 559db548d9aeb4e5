/* The nearest peer in kind: mixpanel-import, a bulk importer of event files, on its own path of
 * reading, mapping, batching and sending, with its ten workers.
 *
 *   NODE_PATH=.bench/node/node_modules node benchmarks/mixpanel_import.cjs EVENTS.csv PORT
 *
 * It has no option for another address. So the pool of connections it makes is replaced by one to
 * the sink, before it is loaded: nothing leaves the machine. The sink counts `"messageId"`, and its
 * messages have none: a column takes that name. 1,500 messages fill a body of the size allowed here.
 */
'use strict';
const path = require('path');
const home = path.dirname(require.resolve('mixpanel-import'));
const undici = require(require.resolve('undici', { paths: [home] }));
const [file, port] = process.argv.slice(2);

undici.Pool = class extends undici.Pool {
  constructor(_origin, options) { super(`http://127.0.0.1:${port}`, options); }
  dispatch(options, handler) { return super.dispatch({ ...options, path: '/v1/batch' }, handler); }
};

require('mixpanel-import')({ token: 'bench', project: '1', acct: 'bench', pass: 'bench' }, file, {
  recordType: 'event', streamFormat: 'csv', recordsPerBatch: 1500, workers: 10, compress: false,
  verbose: false, showProgress: false, logs: false, abridged: true, strict: false,
  fixData: true, forceStream: true,
  insertIdTuple: ['user_id', 'occurred_at', 'event', 'amount', 'product_name'],
  aliases: { user_id: 'distinct_id', occurred_at: 'time', event: 'event', currency: 'messageId' },
}).then((told) => { console.log(JSON.stringify(told)); process.exit(0); })
  .catch((error) => { console.error(error); process.exit(1); });
