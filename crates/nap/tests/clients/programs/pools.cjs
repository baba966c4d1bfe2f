// Pools of twenty connections. Each line of input is a round: every connection of each pool answers a query at once.
//
// Arguments: the URL. Answers `ok`, or what went wrong.
const readline = require("node:readline");
const { Pool } = require("pg");
const postgres = require("postgres");

const SIZE = 20;
const url = process.argv[2];
const pool = new Pool({ connectionString: url, max: SIZE, min: SIZE, idleTimeoutMillis: 0 });
const failed = [];
pool.on("error", (error) => failed.push(error));
const sql = postgres(url, { max: SIZE, idle_timeout: 0, max_lifetime: null, ssl: false });

async function round(number) {
  const clients = await Promise.all(Array.from({ length: SIZE }, () => pool.connect()));
  const answers = await Promise.all(
    clients.map((client) => client.query({ name: "plus", text: "SELECT $1::int + 1 AS sum", values: [number] })),
  );
  clients.forEach((client) => client.release());
  if (answers.some((answer) => answer.rows[0].sum !== number + 1)) throw new Error("another sum");
  // As many as there are connections, and each takes long enough that all are used.
  const sums = await Promise.all(
    Array.from({ length: SIZE }, () => sql`SELECT ${number}::int + 1 AS sum FROM pg_sleep(0.05)`),
  );
  if (sums.some((rows) => rows[0].sum !== number + 1)) throw new Error("another sum");
  if (failed.length > 0) throw failed[0];
}

(async () => {
  let number = 0;
  for await (const _ of readline.createInterface({ input: process.stdin })) {
    number += 1;
    try {
      await round(number);
      console.log("ok");
    } catch (error) {
      console.log(String(error.stack).replaceAll("\n", " "));
    }
  }
  process.exit(0);
})();
