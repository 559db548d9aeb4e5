/* The same import with the official Node client and csv-parse, at the best settings found for it.
 *
 *   NODE_PATH=.bench/node/node_modules node benchmarks/official_node.cjs EVENTS.csv PORT
 *
 * track() keeps every message in memory until it is sent: so this waits while 20,000 are not, as a
 * careful caller must. 1,000 messages a request; with the default of 15 it is three times as slow.
 */
'use strict';
const fs = require('fs');
const { parse } = require('csv-parse');
const { Analytics } = require('@customerio/cdp-analytics-node');

const PENDING_MAX = 20000;
const [path, port] = process.argv.slice(2);
const client = new Analytics({
  writeKey: 'bench', host: `http://127.0.0.1:${port}`, maxEventsInBatch: 1000, flushInterval: 1000,
  httpRequestTimeout: 60000, // with the default of 10 s a busy machine makes it send twice
});
client.on('error', (error) => { console.error(error); process.exit(1); });

let number = 0, pending = 0, resume = null;
const done = () => {
  pending--;
  if (resume && pending < PENDING_MAX / 2) { const go = resume; resume = null; go(); }
};

(async () => {
  const rows = fs.createReadStream(path, { highWaterMark: 1 << 20 }).pipe(parse({ columns: true }));
  for await (const row of rows) {
    const properties = {
      email: row.email, amount: +row.amount, currency: row.currency, product_name: row.product_name,
      quantity: +row.quantity, is_member: row.is_member === 'true',
    };
    if (row.coupon) properties.coupon = row.coupon;
    pending++;
    client.track({
      userId: row.user_id, event: row.event, timestamp: new Date(row.occurred_at), properties,
      messageId: 'bench-' + String(number++).padStart(12, '0'),
    }, done);
    if (pending >= PENDING_MAX) await new Promise((go) => { resume = go; });
  }
  await client.closeAndFlush();
})();
