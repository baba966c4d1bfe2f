const { drizzle } = require('drizzle-orm/node-postgres');
const { sql } = require('drizzle-orm');
const { bound, casesWith, settings } = require('./pg_program.cjs');
const { serve, parts } = require('./serve.cjs');

// As its users write it: Drizzle makes the pool, of a string or of settings.
const open = (request, more) =>
  request.url ? drizzle(request.url) : drizzle({ connection: { ...settings(request), ...more } });

const through = async (request, use) => {
  const database = open(request);
  try {
    return await use(database);
  } finally {
    await database.$client.end();
  }
};
const one = async (database, text) => String(Object.values((await database.execute(sql.raw(text))).rows[0])[0]);

// What Drizzle has no words for goes through a client of its pool.
const pools = new Map();
const take = async (request, more) => {
  const pool = open(request, more).$client;
  const client = await pool.connect();
  pools.set(client, pool);
  return bound(client, request);
};
const give = async (client) => {
  client.release();
  await pools.get(client).end();
  pools.delete(client);
};
const ofTheClient = casesWith(take, give);

serve({
  ...ofTheClient,
  ask: (request) =>
    request.channel_binding
      ? ofTheClient.ask(request)
      : through(request, async (database) => ({ answer: await one(database, request.sql) })),
  error_arrives: (request) =>
    through(request, async (database) => {
      try {
        await database.execute(sql.raw(request.sql));
      } catch (error) {
        return { ...parts(error.cause), after: await one(database, 'select 1') };
      }
    }),
});
