// Runs the engine of a built page under Node, for test_playground.py: node playground.js PAGE CODE prints CODE's value.
const { readFileSync } = require("fs"), { runInThisContext } = require("vm");

const [page, code] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const part = (id) => page.match(new RegExp(`id="${id}">([^]*?)</script>`))[1];
runInThisContext(part("engine"), "engine.js");

const engine = { settings: JSON.parse(part("settings")), packed: Buffer.from(part("weights"), "base64") };

/* All answers of one worker to each of the requests, in turn. */
async function answers(requests) {
  let heard;
  const receive = serve((answer) => heard.push(answer)), all = [];
  for (const [id, request] of [{ type: "load", ...engine }, ...requests].entries()) {
    heard = [];
    await receive({ id, ...request });
    all.push(heard);
  }
  return all.slice(1);
}

async function main() {
  engine.models = await unpack(engine.packed, engine.settings);
  const value = await runInThisContext("(async (engine, answers) => (" + code + "))", "code.js")(engine, answers);
  console.log(JSON.stringify(value, (_, x) => (ArrayBuffer.isView(x) ? Array.from(x) : x)));
}

main();
