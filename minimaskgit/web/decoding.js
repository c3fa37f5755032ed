/* Iterative parallel decoding: the whole canvas at once, refined in T steps (decoding.py).

   all [MASK] --> predict and sample every unknown token --> keep the surest, re-mask the rest --+
                       ^------------------------ T times ----------------------------------------+
*/

const TEMPERATURE = 4.5; // of the paper's choice noise; annealed linearly to zero

/* Draw from softmax(logits): (rows, K) to (rows,). */
function sample_categorical(logits, K, generator) {
  const rows = logits.length / K, p = softmax(logits, K), u = rand(rows, generator);
  return Int32Array.from({ length: rows }, (_, row) => {
    const cumulative = new Float32Array(K);
    for (let k = 0, sum = 0; k < K; k++) cumulative[k] = sum += p[row * K + k];
    const drawn = Math.fround(u[row] * cumulative[K - 1]);
    const code = cumulative.findIndex((sum) => sum > drawn);
    return code < 0 ? K - 1 : code;
  });
}

/* Standard Gumbel noise, -log(-log u) of a uniform u. */
function gumbel_noise(count, generator) {
  const low = 1e-20, high = Math.fround(1 - 1e-7);
  return rand(count, generator).map((u) => -Math.log(-Math.log(clamp(u, low, high))));
}

/* log p(token) + temperature * noise, and infinite where the token is known already. */
function confidence(log_p, known, temperature, noise) {
  return log_p.map((value, i) => (known[i] ? Infinity : value + temperature * noise[i]));
}

/* log p of each row's token: logits (rows, K), tokens (rows,). */
function log_p_of(logits, tokens) {
  const K = logits.length / tokens.length, log_p = log_softmax(logits, K);
  return Float32Array.from(tokens, (token, row) => log_p[row * K + token]);
}

/* How many tokens to re-mask after step t = 0..T-1: floor(U gamma((t+1)/T)), at least 1 and fewer than now. */
function num_to_mask(unknown_at_start, unknown_now, step, steps, schedule) {
  if (step === steps - 1) return 0;
  const count = Math.floor(unknown_at_start * schedule((step + 1) / steps, unknown_at_start));
  return Math.max(Math.min(Math.max(count, 1), unknown_now - 1), 0);
}

/* Put [MASK] on the `count` least confident tokens. */
function remask(tokens, confidence, count, mask_id) {
  const ranks = ranks_of(confidence); // 0 for the least confident
  return tokens.map((token, i) => (ranks[i] < count ? mask_id : token));
}

/* The number of masked tokens after each step, from those unknown at the start. */
function mask_plan(unknown, steps, schedule, start_step = 0, count = num_to_mask) {
  const counts = [];
  for (let step = start_step, now = unknown; step < steps; step++) {
    now = count(unknown, now, step, steps, schedule);
    counts.push(now);
  }
  return counts;
}

/* Decode and yield every step, which is
   {sampled: every token, kept or only proposed; tokens: the input of the next step, [MASK] where not kept;
    probability: of each token when it was drawn, 1 where it was known; confidence: the greatest are kept}.

   tokens: the canvas to start from, with mask_id where unknown; blank by default. The rest as in Python.
*/
function* decode_steps(model, label, {
  tokens = blank_canvas(model), steps = 8, schedule = SCHEDULES.cosine, temperature = TEMPERATURE, guidance = 0,
  generator, start_step = 0, count = num_to_mask,
}) {
  const unknown = count_true(tokens.map((token) => token === model.mask_id));
  const plan = mask_plan(unknown, steps, schedule, start_step, count);
  yield* refine(model, label, tokens, plan, steps, temperature, guidance, generator);
}

const blank_canvas = (model) => new Int32Array(model.num_tokens).fill(model.mask_id);

/* The loop of decode_steps. */
function* refine(model, label, tokens, plan, steps, temperature, guidance, generator) {
  const start_step = steps - plan.length;
  for (let step = start_step; step < steps; step++) {
    // 1. Predict, where a token is unknown.
    const where = [...tokens.keys()].filter((i) => tokens[i] === model.mask_id); // (M,)
    const logits = guided_logits(model, tokens, label, where, guidance); // (M, K)
    // 2. Sample the unknown tokens, with a confidence for each.
    const drawn = sample_categorical(logits, model.num_codes, generator);
    const tau = temperature * (1 - (step + 1) / steps);
    const noise = gumbel_noise(where.length, generator);
    const log_p = log_p_of(logits, drawn);
    const sure = confidence(log_p, where.map(() => false), tau, noise);
    // 3. and 4. The plan says how many to mask again: the least confident. The last step masks none.
    const kept = remask(drawn, sure, plan[step - start_step], model.mask_id);
    const sampled = scatter(tokens, where, drawn);
    tokens = scatter(tokens, where, kept);
    const everywhere = (value) => new Float32Array(tokens.length).fill(value);
    yield {
      sampled, tokens,
      probability: scatter(everywhere(1), where, log_p.map(Math.exp)),
      confidence: scatter(everywhere(Infinity), where, sure),
    };
  }
}

/* A copy with values[i] at position where[i]. */
function scatter(target, where, values) {
  const copy = target.slice();
  where.forEach((position, i) => (copy[position] = values[i]));
  return copy;
}

/* Logits (M, K) at positions `where`, with classifier-free guidance unless it is 0. */
function guided_logits(model, tokens, label, where, guidance, watch) {
  const conditional = model.forward(tokens, label, where, watch);
  if (guidance === 0) return conditional;
  const unconditional = model.forward(tokens, model.num_classes, where);
  return conditional.map((logit, i) => (1 + guidance) * logit - guidance * unconditional[i]);
}
