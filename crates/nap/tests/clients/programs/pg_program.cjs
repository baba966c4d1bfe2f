const fs = require('fs');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');
const pg = require('pg');
const copy = require('pg-copy-streams');
const QueryStream = require('pg-query-stream');
const { serve, parts, sleep } = require('./serve.cjs');

const settings = (request) => {
  if (request.url) return { connectionString: request.url };
  if (request.environment) return {};
  const { host, port, user, password, database, options } = request;
  const ssl = request.root_certificate && { ca: fs.readFileSync(request.root_certificate) };
  return { host, port, user, password, database, options, ssl };
};

const connect = async (request, more) => {
  const client = new pg.Client({ ...settings(request), ...more });
  await client.connect();
  return client;
};

const one = async (client, sql) => {
  const { rows } = await client.query({ text: sql, rowMode: 'array' });
  return rows[0] && String(rows[0][0]);
};

const cases = {
  async ask(request) {
    const client = await connect(request);
    const answer = await one(client, request.sql);
    await client.end();
    return { answer };
  },
  async refused(request) {
    try {
      await connect(request);
    } catch (error) {
      return parts(error);
    }
  },
  async error_arrives(request) {
    const client = await connect(request);
    try {
      await client.query(request.sql);
    } catch (error) {
      const after = await one(client, 'select 1');
      await client.end();
      return { ...parts(error), after };
    }
  },
  async cancel(request) {
    const [client, watcher] = [await connect(request), await connect(request)];
    const asked = { text: request.sql };
    const sleeper = client.query(asked).then(() => ({}), parts);
    while ((await one(watcher, request.watch)) !== '1') await sleep(10);
    // node-postgres cancels by a second client, which is given what was learnt by the first.
    const canceller = new pg.Connection({});
    canceller.on('connect', () => canceller.cancel(client.processID, client.secretKey));
    canceller.connect(request.port, request.host);
    const { sqlstate } = await sleeper;
    const after = await one(client, 'select 1');
    await Promise.all([client.end(), watcher.end()]);
    return { sqlstate, after };
  },
  async copy(request) {
    const client = await connect(request);
    await client.query(request.create);
    await pipeline(Readable.from([request.rows]), client.query(copy.from(request.copy_in)));
    const chunks = [];
    for await (const chunk of client.query(copy.to(request.copy_out))) chunks.push(chunk);
    const sum = await one(client, request.sum);
    await client.end();
    return { sum, same: Buffer.concat(chunks).toString() === request.rows };
  },
  async pipeline(request) {
    const client = await connect(request, { pipeline: true });
    const ask = (number) => client.query('select $1::int as number', [number]);
    const answers = await Promise.all(Array.from({ length: request.count }, (_, number) => ask(number)));
    await client.end();
    return { sum: answers.reduce((sum, { rows }) => sum + rows[0].number, 0) };
  },
  async large(request) {
    const client = await connect(request);
    let [rows, bytes] = [0, 0];
    for await (const row of client.query(new QueryStream(request.sql, [], { rowMode: 'array', batchSize: 1000 }))) {
      rows += 1;
      bytes += row[0].length;
    }
    await client.end();
    return { rows, bytes };
  },
};

module.exports = { cases, connect, settings };
if (require.main === module) serve(cases);
