// What the Node programs share: a line with a request comes in, a line with an answer goes out.
const dns = require('dns');
const readline = require('readline');

// Not every machine resolves the names below localhost.
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => lookup(String(host).endsWith('.localhost') ? '127.0.0.1' : host, ...rest);

exports.serve = async (client) => {
  const answer = async (request) => {
    try {
      return await client[request.do](request);
    } catch (error) {
      return { failed: error.stack };
    }
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    const together = request.do === 'together';
    const answers = together ? { answers: await Promise.all(request.requests.map(answer)) } : await answer(request);
    console.log(JSON.stringify(answers));
  }
  process.exit(0);
};

exports.parts = (error) => ({ sqlstate: error.code, message: error.message, detail: error.detail, hint: error.hint });
exports.sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
