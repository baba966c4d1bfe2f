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
  const enableChannelBinding = Boolean(request.channel_binding);
  return { host, port, user, password, database, options, ssl, enableChannelBinding };
};

// It binds the channel when it can, and cannot be told to require it: so here is what it has sent.
const send = pg.Connection.prototype.sendSASLInitialResponseMessage;
pg.Connection.prototype.sendSASLInitialResponseMessage = function (mechanism, response) {
  this.mechanism = mechanism;
  return send.call(this, mechanism, response);
};
const bound = (client, request) => {
  const { mechanism } = client.connection;
  if (request.channel_binding && mechanism !== 'SCRAM-SHA-256-PLUS') throw new Error(mechanism);
  return client;
};

const connectAlone = async (request, more) => {
  const client = new pg.Client({ ...settings(request), ...more });
  await client.connect();
  return bound(client, request);
};
const closeAlone = (client) => client.end();

const one = async (client, sql) => {
  const { rows } = await client.query({ text: sql, rowMode: 'array' });
  return rows[0] && String(rows[0][0]);
};

// All cases, with clients that come and go in a way of their own.
const casesWith = (connect, close) => ({
  async ask(request) {
    const client = await connect(request);
    const answer = await one(client, request.sql);
    await close(client);
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
      await close(client);
      return { ...parts(error), after };
    }
  },
  async cancel(request) {
    const [client, watcher] = [await connect(request), await connect(request)];
    const asked = { text: request.sql };
    const sleeper = client.query(asked).then(() => ({}), parts);
    while ((await one(watcher, request.watch)) !== '1') await sleep(10);
    // node-postgres cancels by a second client, which is given what was learnt by the first.
    const canceller = new pg.Connection({ ssl: settings(request).ssl });
    let sent = false;
    const cancel = () => {
      canceller.cancel(client.processID, client.secretKey);
      sent = true;
    };
    canceller.on('connect', () => (canceller.ssl ? canceller.requestSsl() : cancel()));
    canceller.on('sslconnect', cancel);
    // Until the server has closed this connection, in whatever way, a signal may be on its way that would hit what comes next.
    const taken = new Promise((resolve, reject) =>
      canceller.on('end', resolve).on('error', (error) => sent || reject(error)));
    if (request.socket_file) canceller.connect(request.socket_file);
    else canceller.connect(request.port, request.host);
    const [{ sqlstate }] = await Promise.all([sleeper, taken]);
    const after = await one(client, 'select 1');
    await Promise.all([close(client), close(watcher)]);
    return { sqlstate, after };
  },
  async copy(request) {
    const client = await connect(request);
    await client.query(request.create);
    await pipeline(Readable.from([request.rows]), client.query(copy.from(request.copy_in)));
    const chunks = [];
    for await (const chunk of client.query(copy.to(request.copy_out))) chunks.push(chunk);
    const sum = await one(client, request.sum);
    await close(client);
    return { sum, same: Buffer.concat(chunks).toString() === request.rows };
  },
  async pipeline(request) {
    const client = await connect(request, { pipeline: true });
    const ask = (number) => client.query('select $1::int as number', [number]);
    const answers = await Promise.all(Array.from({ length: request.count }, (_, number) => ask(number)));
    await close(client);
    return { sum: answers.reduce((sum, { rows }) => sum + rows[0].number, 0) };
  },
  async large(request) {
    const client = await connect(request);
    let [rows, bytes] = [0, 0];
    for await (const row of client.query(new QueryStream(request.sql, [], { rowMode: 'array', batchSize: 1000 }))) {
      rows += 1;
      bytes += row[0].length;
    }
    await close(client);
    return { rows, bytes };
  },
});

module.exports = { bound, casesWith, settings };
if (require.main === module) serve(casesWith(connectAlone, closeAlone));
