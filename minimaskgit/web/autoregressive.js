/* The autoregressive baseline: the same backbone, one token per pass, in raster order (autoregressive.py).

   [class] --> t1      [class] t1 --> t2      [class] t1 t2 --> t3   ...   N passes for N tokens
*/

/* Logits of the next token, (K,), from the newest id and the cache, to which it is added. */
function cached_step(model, newest, cache) {
  return model.logits(model.trunk([newest], cache));
}

/* Generate token by token, yielding {position, token, probability} of each; label in 0..C. */
function* raster_steps(model, label, { cache = true, generator }) {
  const ids = [model.num_codes + label], memory = cache && new KVCache(model);
  for (let position = 0; position < model.num_tokens; position++) {
    const logits = cache ? cached_step(model, ids[position], memory) : uncached_step(model, ids);
    const [token] = sample_categorical(logits, model.num_codes, generator);
    ids.push(token);
    yield { position, token, probability: Math.exp(log_p_of(logits, [token])[0]) };
  }
}

/* The same from all ids so far, read again. */
function uncached_step(model, ids) {
  return model.logits(model.trunk(ids).slice(-model.width));
}
