const { drizzle } = require('drizzle-orm/node-postgres');
const { sql } = require('drizzle-orm');
const { cases, connect } = require('./pg_program.cjs');
const { serve, parts } = require('./serve.cjs');

// What Drizzle has no words for goes through the node-postgres client below it.
const through = async (request, use) => {
  const client = await connect(request);
  try {
    return await use(drizzle(client));
  } finally {
    await client.end();
  }
};
const one = async (database, text) => String(Object.values((await database.execute(sql.raw(text))).rows[0])[0]);

serve({
  ...cases,
  ask: (request) => through(request, async (database) => ({ answer: await one(database, request.sql) })),
  error_arrives: (request) =>
    through(request, async (database) => {
      try {
        await database.execute(sql.raw(request.sql));
      } catch (error) {
        return { ...parts(error.cause), after: await one(database, 'select 1') };
      }
    }),
});
