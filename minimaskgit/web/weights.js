/* The models, from what `python -m minimaskgit.playground` has packed (web/pack.py).

   packed --inflate--> bytes, the highest of every number first --> Float32Array of all tensors, one after another
   settings: {bytes, models: {tokenizer, transformer, ...: {settings, tensors: [[name, shape], ...]}}, ...}
*/

async function unpack(packed, settings) {
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const count = planes.length / settings.bytes, bytes = new Uint8Array(4 * count);
  for (let plane = 0, at = 0; plane < settings.bytes; plane++)
    for (let i = 3 - plane; i < bytes.length; i += 4) bytes[i] = planes[at++]; // the lowest byte is the first
  return built(new Float32Array(bytes.buffer), settings);
}

/* The models that the settings list, with their weights. */
function built(numbers, settings) {
  const kinds = { tokenizer: Tokenizer, transformer: Transformer, autoregressive: Transformer, critic: Critic };
  const models = {};
  let start = 0;
  for (const [name, { settings: shape, tensors }] of Object.entries(settings.models)) {
    const weights = { shapes: Object.fromEntries(tensors) };
    for (const [tensor, sizes] of tensors) {
      const end = start + sizes.reduce((product, size) => product * size, 1);
      weights[tensor] = numbers.subarray(start, end);
      start = end;
    }
    models[name] = new kinds[name](shape, weights);
  }
  return models;
}
