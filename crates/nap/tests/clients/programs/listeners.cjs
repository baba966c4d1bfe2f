// Listeners of node-postgres and postgres.js: each notification is a line of output, the name of who heard it first.
//
// Arguments: the URL. Says `ready` when all listen.
const { Client } = require("pg");
const postgres = require("postgres");

const url = process.argv[2];

(async () => {
  const client = new Client({ connectionString: url });
  client.on("notification", ({ payload }) => console.log(`node-postgres ${payload}`));
  client.on("error", (error) => console.log(`node-postgres ${error}`));
  await client.connect();
  await client.query("LISTEN jobs");
  const sql = postgres(url, { ssl: false, onclose: () => console.log("postgres.js ended") });
  await sql.listen("jobs", (payload) => console.log(`postgres.js ${payload}`));
  console.log("ready");
})();
