/* Decoders after the paper: other answers to its four questions, in one loop (decoders/).

   canvas --> logits --sampling--> a token for every [MASK] --order, counts--> some are kept --+
     ^                                          correction: some known tokens become [MASK] ---+
     +---------------------------------- T times ----------------------------------------------+
*/

const { fround } = Math; // the nearest number in float32, in which Python computes

// --- loop.py ---

/* What the parts of a decoder see in one step; all arrays are (N,), logits (N, K). */
class View {
  constructor(fields) {
    Object.assign(this, fields); // step, steps, tokens, known, given, logits, sampled, sure, offset, generator, doubt
    this.num_tokens = this.tokens.length;
    this.num_codes = this.logits.length / this.num_tokens;
  }

  /* r = (t+1)/T at the end of the step. */
  get progress() {
    return (this.step + 1) / this.steps;
  }

  get last() {
    return this.step === this.steps - 1;
  }

  uniform() {
    return rand(this.num_tokens, this.generator);
  }

  log_probabilities() {
    return log_softmax(this.logits, this.num_codes);
  }

  /* One row of a matrix (N, K) after another: f(row) for each, (N,). */
  each_row(matrix, f) {
    const K = this.num_codes;
    return Float32Array.from({ length: this.num_tokens }, (_, i) => f(matrix.subarray(i * K, (i + 1) * K)));
  }

  /* Known, but not from the start: what may be taken back. */
  free(i) {
    return this.known[i] && !this.given[i];
  }
}

/* Decode and yield every step, as decode_steps does; `taken` marks the tokens taken back.

   decoder: {order, counts, sampling, correction, guidance, critic}, functions as in Python.
*/
function* run(decoder, model, label, { tokens = blank_canvas(model), steps = 8, generator, start_step = 0 }) {
  const given = Array.from(tokens, (token) => token !== model.mask_id);
  const everywhere = [...tokens.keys()];
  const [offset] = rand(1, generator);
  let sure = new Float32Array(tokens.length).fill(1);
  for (let step = start_step; step < steps; step++) {
    const r = (step + 1) / steps, known = Array.from(tokens, (token) => token !== model.mask_id);
    const watch = decoder.critic && { outputs: [], attention: [] };
    const logits = guided_logits(model, tokens, label, everywhere, decoder.guidance(r), watch);
    const doubt = decoder.critic && decoder.critic.forward(watch.outputs);
    const drawn = sample_categorical(decoder.sampling(logits, r, model.num_codes), model.num_codes, generator);
    const sampled = drawn.map((token, i) => (known[i] ? tokens[i] : token));
    const now = log_p_of(logits, sampled).map(Math.exp);
    sure = sure.map((before, i) => (known[i] ? before : now[i]));
    const view = new View({ step, steps, tokens, known, given, logits, sampled, sure, offset, generator, doubt });
    const next = next_canvas(decoder, view, model.mask_id);
    tokens = next.tokens;
    yield { sampled, probability: sure, ...next };
  }
}

/* The canvas after a step: some known tokens are taken back, some new ones kept; the last keeps all. */
function next_canvas(decoder, view, mask_id) {
  const { known, sampled } = view;
  const nothing = { confidence: new Float32Array(known.length).fill(Infinity), taken: known.map(() => false) };
  if (view.last) return { tokens: sampled, ...nothing };
  const taken = decoder.correction ? decoder.correction(view).map((flag, i) => flag && view.free(i)) : nothing.taken;
  const priority = decoder.order(view).map((value, i) => (known[i] ? Infinity : value));
  const unknown = count_true(known.map((flag) => !flag));
  // What is taken back stays masked for a step, and as many more tokens are kept in its place.
  const masked = Math.min(Math.max(decoder.counts(view, priority) - count_true(taken), 0), unknown);
  const ranks = ranks_of(priority); // 0 for the first to mask
  const tokens = sampled.map((token, i) => (ranks[i] < masked || taken[i] ? mask_id : token));
  return { tokens, confidence: priority, taken };
}

// --- orders.py: which tokens to keep, those with the greatest priority ---

const orders = {
  confidence: (temperature) => (view) => noisy(log_p_of(view.logits, view.sampled), view, temperature),

  margin: (temperature = 0) => (view) => {
    const margins = view.each_row(softmax(view.logits, view.num_codes), (p) => {
      const [second, first] = p.slice().sort().slice(-2);
      return Math.log(first - second);
    });
    return noisy(margins, view, temperature);
  },

  entropy: (temperature = 0) => (view) => noisy(entropies(view).map((value) => -value), view, temperature),

  random: (view) => view.uniform(),

  halton(view) {
    const N = view.num_tokens, side = Math.sqrt(N);
    if (!Number.isInteger(side)) throw new Error(`${N} tokens are no square grid, as the Halton order expects`);
    const ranks = new Int32Array(N), start = Math.floor(fround(view.offset * N));
    halton_order(side, side).forEach((position, rank) => (ranks[position] = rank));
    return Float32Array.from(ranks, (rank) => -((rank - start + N) % N));
  },

  moment: (temperature) => (view) => {
    const alpha = temperature * (1 - view.progress), log_p = view.log_probabilities();
    if (alpha === 0) return view.each_row(log_p, (row) => Math.max(...row));
    const scores = view.each_row(log_p, (row) => {
      const powers = row.map((value) => beta(alpha) * value), greatest = Math.max(...powers);
      return greatest + Math.log(powers.reduce((sum, value) => sum + Math.exp(value - greatest), 0));
    });
    const noise = gumbel_noise(view.num_tokens, view.generator);
    return scores.map((value, i) => value + noise[i]);
  },
};

/* The power of moment sampling. */
const beta = (alpha) => 1 + 1 / Math.max(alpha, 1e-6);

function noisy(priority, view, temperature) {
  const tau = temperature * (1 - view.progress), noise = gumbel_noise(view.num_tokens, view.generator);
  return priority.map((value, i) => value + tau * noise[i]);
}

/* Entropy of each token's distribution in nats. */
function entropies(view) {
  return view.each_row(view.log_probabilities(), (log_p) => -log_p.reduce((sum, l) => sum + Math.exp(l) * l, 0));
}

/* All positions of a grid in the order in which the Halton sequence of bases 2 and 3 visits them. */
function halton_order(height, width) {
  const seen = new Set();
  for (let i = 1; seen.size < height * width; i++) {
    const [row, column] = [[height, 2], [width, 3]].map(([size, base]) => {
      const [digits, whole] = radical_inverse(i, base);
      return Math.floor((size * digits) / whole);
    });
    seen.add(row * width + column);
  }
  return [...seen];
}

function radical_inverse(i, base) {
  let mirrored = 0, whole = 1;
  for (; i; i = Math.floor(i / base)) [mirrored, whole] = [mirrored * base + (i % base), whole * base];
  return [mirrored, whole];
}

// --- counts.py: how many tokens stay masked after a step ---

const unknown_at_start = (view) => count_true(view.given.map((flag) => !flag));
const unknown_now = (view) => count_true(view.known.map((flag) => !flag));

/* Schedules as the authors' code computes them, in float32: from t + 1, T and N. The first three multiply by 1/T. */
const IN_FLOAT32 = {
  linear: (t, T) => 1 - t * fround(1 / T),
  square: (t, T) => 1 - t ** 2 * fround(fround(1 / T) ** 2),
  cubic: (t, T) => 1 - t ** 3 * fround(fround(fround(1 / T) ** 2) * fround(1 / T)),
  exponential: (t, T, N) => 1 - fround(Math.max(N, 2) ** fround(fround(t / T) - 1)),
  square_root: (t, T) => 1 - fround(Math.sqrt(fround(t / T))),
  logarithmic: (t, T, N) => clamp(-fround(Math.log(fround(t / T))) / fround(Math.log(Math.max(N, 2))), 0, 1),
};

/* As num_to_mask, but in float32, as the authors' code computes it on a CPU. */
function released(unknown_at_start, unknown_now, step, steps, schedule) {
  if (step === steps - 1) return 0;
  const name = Object.keys(SCHEDULES).find((name) => SCHEDULES[name] === schedule);
  const exact = (t, T, N) => schedule(fround(t / T), N);
  const gamma = (IN_FLOAT32[name] ?? exact)(step + 1, steps, unknown_at_start);
  const count = Math.floor(fround(unknown_at_start * fround(gamma)));
  return Math.min(Math.max(Math.min(count, unknown_now - 1), 1), unknown_now);
}

const ROUNDINGS = { exact: num_to_mask, released };

const counts = {
  scheduled: (schedule, rounding = "exact") => (view) =>
    ROUNDINGS[rounding](unknown_at_start(view), unknown_now(view), view.step, view.steps, schedule),

  arcsine(view) {
    const unknown = unknown_at_start(view);
    const kept = Math.floor(unknown * ((2 / Math.PI) * Math.asin(view.progress)) + 1e-9);
    return Math.max(Math.min(unknown - Math.max(kept, view.step + 1), unknown_now(view) - 1), 0);
  },

  entropy_bound: (bound) => (view, priority) => {
    const order = argsort(priority).reverse().filter((i) => !view.known[i]), doubt = entropies(view);
    let sum = 0, greatest = 0, within = 0;
    for (const i of order) {
      sum += doubt[i];
      greatest = Math.max(greatest, doubt[i]);
      if (sum - greatest > bound) break; // never falls
      within++;
    }
    return order.length - Math.min(Math.max(within, 1), order.length);
  },
};

// --- sampling.py: with what noise tokens are drawn ---

const sampling = {
  tempered: (temperature = 1, top_p = 1) => (logits, r, K) => {
    const y = new Float32Array(logits.length);
    for (let start = 0; start < y.length; start += K) {
      // The greatest logit becomes 0, because it would overflow when divided by almost nothing.
      const row = logits.subarray(start, start + K), greatest = Math.max(...row);
      y.set(nucleus(row.map((logit) => fround(logit - greatest) / Math.max(temperature, 1e-30)), top_p), start);
    }
    return y;
  },

  moment: (temperature) => (logits, r) => {
    const alpha = temperature * (1 - r);
    return alpha > 0 ? logits.map((logit) => logit * beta(alpha)) : logits;
  },
};

/* Only the likeliest codes whose probabilities add up to top_p. */
function nucleus(logits, top_p) {
  if (top_p >= 1) return logits;
  const p = softmax(logits, logits.length), y = logits.slice();
  let cumulative = 0;
  for (const code of argsort(logits.map((logit) => -logit))) {
    cumulative += p[code];
    const before = fround(fround(cumulative) - p[code]); // of all likelier codes, in float32 as in Python
    if (before >= fround(top_p)) y[code] = -Infinity;
  }
  return y;
}

const late_guidance = (weight, start) => (r) => (r > start ? weight : 0);

// --- correction.py: which known tokens to mask again ---

const BEGIN = 0.45, END = 0.95; // progress at which ReMDM's loop begins and ends
const LOOP_STEPS = 1024; // the decoding steps for which its paper chose eta

const correction = {
  cap: (schedule, most = 0.04) => (view) => below(view, () => Math.min(sigma_max(view, schedule), most)),

  rescale: (schedule, part = 0.04) => (view) => below(view, () => part * sigma_max(view, schedule)),

  unsure: (schedule) => (view) => {
    const weights = softmax(view.sure.map((p, i) => (view.free(i) ? -p : -Infinity)), view.num_tokens);
    return below(view, (i) => sigma_max(view, schedule) * (weights[i] || 0)); // NaN if none may be taken back
  },

  loop: (schedule, eta = 0.02) => (view) => {
    const r = view.step / view.steps;
    if (!(BEGIN <= r && r < END)) return view.known.map(() => false);
    return below(view, () => Math.min(sigma_max(view, schedule), (eta * LOOP_STEPS) / view.steps));
  },

  doubted: (part = 0.2, sure = 0.9) => (view) => {
    const doubt = view.doubt.map((value, i) => (view.free(i) ? value : -Infinity));
    const share = fround(part * (1 - view.progress)); // in float32, as in Python: rounding decides the floor
    const most = Math.floor(fround(share * unknown_at_start(view)));
    const ranks = ranks_of(doubt.map((value) => -value)); // 0 for the most doubted
    return Array.from(doubt, (value, i) => ranks[i] < most && 1 / (1 + Math.exp(-value)) > sure);
  },
};

/* Each token with the probability sigma(i). */
function below(view, sigma) {
  return Array.from(view.uniform(), (u, i) => u < sigma(i));
}

/* The mask schedule of ReMDM's loop: up to `known` tokens, a pause to correct them, and then the others. */
function paused(schedule, known = 0.9) {
  return (r, N) => {
    if (r < BEGIN) return 1 - known * (1 - schedule(Math.min(r / BEGIN, 1), N));
    return (1 - known) * schedule(clamp((r - END) / (1 - END), 0, 1), N);
  };
}

/* The greatest probability of taking a token back; 0 where nothing is known yet. */
function sigma_max(view, schedule) {
  const free = Math.max(unknown_at_start(view), 1);
  const before = count_true(view.known.map((_, i) => view.free(i))) / free;
  const after = 1 - schedule(view.progress, free);
  return before > 0 ? Math.min(1, (1 - after) / before) : 0;
}

// --- critic.py ---

/* Scores tokens by the outputs of all blocks: logits that a token is wrong. */
class Critic {
  constructor({ width, depth }, weights) {
    Object.assign(this, { width, depth });
    const layer = (i) => [weights[`layers.${i}.weight`], weights[`layers.${i}.bias`]];
    [this.norm, this.dense, this.last] = [0, 1, 3].map(layer);
  }

  /* The blocks' outputs, each (1 + N, D), to scores (N,). */
  forward(outputs) {
    const D = this.width, N = outputs[0].length / D - 1, features = new Float32Array(N * this.depth * D);
    for (let i = 0; i < N; i++)
      outputs.forEach((x, layer) => // without the class token
        features.set(x.subarray((i + 1) * D, (i + 2) * D), (i * this.depth + layer) * D));
    const normed = layer_norm(features, ...this.norm, 1e-5);
    return linear(gelu(linear(normed, ...this.dense, this.depth * D)), ...this.last, D);
  }
}

// --- policy.py: settings of its own for every step ---

/* The decoder of a policy {masked, choice, sampling, guidance, doubted}, each but the last with a value per step. */
function decoder_of(policy, critic) {
  const at = (values, r) => values[Math.round(r * policy.masked.length) - 1];
  return {
    order(view) {
      const noise = gumbel_noise(view.num_tokens, view.generator);
      return log_p_of(view.logits, view.sampled).map((log_p, i) => log_p + policy.choice[view.step] * noise[i]);
    },
    counts: (view) => counts.scheduled(() => policy.masked[view.step])(view),
    sampling: (logits, r, K) => sampling.tempered(at(policy.sampling, r))(logits, r, K),
    correction: policy.doubted ? correction.doubted(policy.doubted, 0.8) : null,
    guidance: (r) => at(policy.guidance, r),
    critic: policy.doubted ? critic : null,
  };
}

// --- named.py: the decoders by name ---

const ENTROPY_BOUND = 2; // nats

function named(name, settings) {
  const { schedule, temperature, guidance, guidance_start, sampling_temperature, top_p, rounding, critic } = settings;
  const confidence = orders.confidence(temperature), scheduled = counts.scheduled(schedule, rounding);
  const pause = paused(schedule);
  const [order, how_many, take_back] = {
    "maskgit": [confidence, scheduled, null],
    "margin": [orders.margin(), scheduled, null],
    "entropy": [orders.entropy(), scheduled, null],
    "random": [orders.random, scheduled, null],
    "halton": [orders.halton, counts.arcsine, null],
    "moment": [orders.moment(temperature), scheduled, null],
    "entropy-bound": [orders.entropy(), counts.entropy_bound(ENTROPY_BOUND), null],
    "remdm-cap": [confidence, scheduled, correction.cap(schedule)],
    "remdm-rescale": [confidence, scheduled, correction.rescale(schedule)],
    "remdm-conf": [confidence, scheduled, correction.unsure(schedule)],
    "remdm-loop": [confidence, counts.scheduled(pause, rounding), correction.loop(pause)],
    "critic": [confidence, scheduled, correction.doubted()],
  }[name];
  return {
    order, counts: how_many, correction: take_back,
    sampling: name === "moment" ? sampling.moment(temperature) : sampling.tempered(sampling_temperature, top_p),
    guidance: late_guidance(guidance, guidance_start),
    critic: name === "critic" ? critic : null,
  };
}
