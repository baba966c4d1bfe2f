const fs = require('fs');
const net = require('net');
const { finished, pipeline } = require('stream/promises');
const { Readable } = require('stream');
const postgres = require('postgres');
const { serve, sleep } = require('./serve.cjs');

const connect = (request) => {
  const more = { max: 1, onnotice: () => {} };
  if (request.url) return postgres(request.url, more);
  if (request.environment) return postgres(more);
  const { host, port, user: username, password, database, options } = request;
  const connection = { ...request.parameters, ...(options && { options }) };
  const ssl = request.root_certificate && { ca: fs.readFileSync(request.root_certificate), servername: host };
  return postgres({ host, port, username, password, database, connection, ssl, ...more });
};

// The sockets that were opened, for what it opens and does not tell of.
let sockets = [];
const open = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...where) {
  sockets.push(this);
  return open.apply(this, where);
};

const parts = (error) => ({ sqlstate: error.code, message: error.message, detail: error.detail, hint: error.hint });
const one = async (sql, text) => String((await sql.unsafe(text).values())[0][0]);
const using = async (request, use) => {
  const sql = connect(request);
  try {
    return await use(sql);
  } finally {
    await sql.end();
  }
};

serve({
  ask: (request) => using(request, async (sql) => ({ answer: await one(sql, request.sql) })),
  refused: (request) => using(request, (sql) => one(sql, 'select 1').then(() => ({}), parts)),
  error_arrives: (request) =>
    using(request, async (sql) => {
      const told = await sql.unsafe(request.sql).then(() => ({}), parts);
      return { ...told, after: await one(sql, 'select 1') };
    }),
  cancel: (request) =>
    using(request, (sql) =>
      using(request, async (watcher) => {
        const query = sql.unsafe(request.sql);
        const sleeper = query.then(() => ({}), parts);
        while ((await one(watcher, request.watch)) !== '1') await sleep(10);
        sockets = [];
        query.cancel();
        const { sqlstate } = await sleeper;
        // Until the server has closed the connection that asked, a signal may be on its way, and would hit what comes next.
        while (!sockets.every((socket) => socket.destroyed)) await sleep(10);
        return { sqlstate, after: await one(sql, 'select 1') };
      })),
  copy: (request) =>
    using(request, async (sql) => {
      await sql.unsafe(request.create);
      await pipeline(Readable.from([Buffer.from(request.rows)]), await sql.unsafe(request.copy_in).writable());
      // Read as it comes. What postgres.js has to keep it stops its socket for, and does not go on when COPY has ended.
      const chunks = [];
      const out = await sql.unsafe(request.copy_out).readable();
      await finished(out.on('data', (chunk) => chunks.push(chunk)));
      return { sum: await one(sql, request.sum), same: Buffer.concat(chunks).toString() === request.rows };
    }),
  pipeline: (request) =>
    using(request, async (sql) => {
      const answers = await Promise.all(
        Array.from({ length: request.count }, (_, number) => sql`select ${number}::int as number`));
      return { sum: answers.reduce((sum, [row]) => sum + row.number, 0) };
    }),
  large: (request) =>
    using(request, async (sql) => {
      let [rows, bytes] = [0, 0];
      await sql.unsafe(request.sql).cursor(1000, (part) => {
        rows += part.length;
        for (const row of part) bytes += row.text.length;
      });
      return { rows, bytes };
    }),
});
