/* The engine as a worker: it answers requests, so that the page stays alive while the models compute.

   Request {id, type, ...}; the worker answers {id, type: "step", ...} any number of times, and then once with
   {id, type: "done", ...}, {id, type: "cancelled"} or {id, type: "error", text}. client.js puts this into promises.

   type      fields                                          each step                           done
   load      packed: ArrayBuffer, settings                   -                                   -
   decode    label, decoder, steps, schedule, temperature,   step, tokens, sampled, probability, steps
             sampling_temperature, top_p, guidance,          confidence, taken, passes,
             guidance_start, seed,                           milliseconds, picture
             tokens + region, start_step, pictures
   rival     label, seed, cache, tokens + region, pictures   position, token, probability,       -
                                                             passes, milliseconds, picture
   look      tokens, label, position, guidance, top, model   -                                   codes, probabilities,
                                                                                                 attention, doubt
   picture   tokens                                          -                                   picture
   patches   codes                                           -                                   patches
   encode    picture                                         -                                   tokens, picture
   composite picture, tokens, region                         -                                   picture
   extend    picture, tokens, margins, label, and those of   step, tokens, masked, rows, columns, rows, columns,
             decode                                          picture, passes, milliseconds       tokens, picture
   cancel    of: the id to stop                              -                                   -

   label: 0..C-1, or C for "no class". steps: T. schedule: a name, or numbers, gamma at equal distances of r from 0 to 1.
   decoder: a name of settings.decoders; "searched" is the policy for this T. seed: as on the command line.
   tokens (N,): codes in raster order; with [MASK], K + C, only in `tokens` of a step, and in `look`.
   region (N,): true for the tokens to paint anew (class edits, inpainting); start_step: where to enter the schedule.
   sampled (N,): the full guess. probability (N,): of each token when it was drawn. confidence (N,): what decides which
   are kept, noise included; Infinity where known. taken (N,): what a correction masks again; not every decoder has it.
   passes: of the transformer so far. milliseconds: of computing so far, without pictures and without waiting.
   picture: {width, height, data: RGBA bytes}, as ImageData has them. pictures: true for one in every step.
   attention: for each layer, for each head, weights (1 + N,) from `position` to the class token and all tokens.
   doubt: the critic's probability that the token at `position` is wrong; null without a critic or a token.
   patches: pictures of each code's own patch: what the decoder paints in the middle of a canvas of that code alone.
   margins: [left, top, right, bottom], in tokens, by which to extend a picture.
*/

const REQUESTS = {
  /* First of all: the models. */
  async load(engine, { packed, settings }) {
    engine.settings = settings;
    engine.models = await unpack(packed, settings);
  },

  *decode(engine, fields) {
    const { transformer, tokenizer } = engine.models, { region, pictures } = fields;
    check_canvas(engine, fields);
    const how = decoding_options(engine, fields);
    if (region && !region.every(Boolean)) how.tokens = edit_canvas(transformer, fields.tokens, region);
    let passes = 0, step = how.start_step;
    for (const each of loop_of(engine, fields, how)) {
      step++;
      passes += 1 + (guidance_at(engine, fields, step / how.steps) ? 1 : 0);
      yield { step, passes, ...each, picture: pictures && (() => to_picture(tokenizer.decode(each.sampled))) };
    }
    return { steps: how.steps };
  },

  *rival(engine, { label, seed = 0, cache = true, tokens, region, pictures }) {
    const { autoregressive: model, tokenizer } = engine.models;
    expect(model, "this run has no autoregressive twin");
    check_canvas(engine, { label, tokens, region });
    const generator = new Generator(seed);
    const steps = region
      ? autoregressive_edit(model, tokens, region, label, { generator })
      : raster_steps(model, label, { cache, generator });
    const canvas = Array.from({ length: model.num_tokens }, (_, i) => (region ? tokens[i] : 0));
    for (const each of steps) {
      canvas[each.position] = each.token;
      yield { passes: each.position + 1, ...each, picture: pictures && (() => to_picture(tokenizer.decode(canvas))) };
    }
  },

  *look(engine, { tokens, label, position, guidance = 0, top = 5, model: name = "transformer" }) {
    const model = engine.models[name], { critic } = engine.models, watch = { outputs: [], attention: [] };
    expect(model, `this run has no ${name}`);
    check_canvas(engine, { label, tokens });
    check_number("position", position, 0, model.num_tokens - 1, true);
    const logits = guided_logits(model, tokens, label, [position], guidance, watch);
    const p = softmax(logits, model.num_codes), codes = argsort(p.map((value) => -value)).slice(0, top);
    const query = model.causal ? position : position + 1; // after the class token
    const attention = watch.attention.map((seen) => {
      const length = Math.sqrt(seen.length / model.heads);
      return Array.from({ length: model.heads }, (_, head) =>
        seen.slice((head * length + query) * length, (head * length + query + 1) * length));
    });
    const judged = critic && !model.causal && tokens[position] !== model.mask_id;
    const doubt = judged ? 1 / (1 + Math.exp(-critic.forward(watch.outputs)[position])) : null;
    return { codes, probabilities: codes.map((code) => p[code]), attention, doubt };
  },

  *picture(engine, { tokens }) {
    check_canvas(engine, { tokens });
    return { picture: to_picture(engine.models.tokenizer.decode(tokens)) };
  },

  *patches(engine, { codes }) {
    const { tokenizer } = engine.models, { grid, num_tokens, downsampling: f } = tokenizer;
    const middle = Math.floor(grid / 2) * f, patches = [];
    for (const code of codes) {
      check_number("code", code, 0, tokenizer.num_codes - 1, true);
      engine.patches[code] ??= cropped(to_picture(tokenizer.decode(new Int32Array(num_tokens).fill(code))), middle, middle, f, f);
      patches.push(engine.patches[code]);
    }
    return { patches };
  },

  *encode(engine, { picture }) {
    const { tokenizer } = engine.models, tokens = tokenizer.encode(to_image(engine, picture));
    return { tokens, picture: to_picture(tokenizer.decode(tokens)) };
  },

  *composite(engine, { picture, tokens, region }) {
    check_canvas(engine, { tokens, region });
    return { picture: to_picture(composite(engine.models.tokenizer, to_image(engine, picture), tokens, region)) };
  },
};

/* Answer requests with `post` until the end of time; the models live in `engine`. */
function serve(post) {
  const engine = { models: {}, patches: {} }, cancelled = new Set();
  return async function receive({ id, type, ...fields }) {
    if (type === "cancel") return cancelled.add(fields.of);
    try {
      expect(type in REQUESTS, `unknown request ${type}`);
      expect(type === "load" || engine.models.transformer, "the models are not loaded yet");
      const work = REQUESTS[type](engine, fields);
      if (type === "load") return post({ id, type: "done", ...(await work) });
      let milliseconds = 0, rested = performance.now();
      for (;;) {
        const start = performance.now(), { value, done } = work.next();
        milliseconds += performance.now() - start;
        if (done) return post({ id, type: "done", ...value });
        const picture = value.picture ? value.picture() : null; // after the clock has stopped
        post({ id, type: "step", ...value, milliseconds, picture });
        if (performance.now() - rested > 30) {
          await new Promise((resume) => setTimeout(resume)); // lets a cancel in, or another request
          rested = performance.now();
        }
        if (cancelled.delete(id)) return post({ id, type: "cancelled" });
      }
    } catch (error) {
      post({ id, type: "error", text: error.message });
    }
  };
}

// --- What the fields mean ---

/* The options of a decoding loop, checked. */
function decoding_options(engine, fields) {
  const { steps, schedule, temperature, seed = 0, guidance = 0, start_step = 0 } = { ...engine.settings.decoding, ...fields };
  check_number("steps", steps, 1, engine.models.transformer.num_tokens, true);
  check_number("start_step", start_step, 0, steps - 1, true);
  check_number("temperature", temperature, 0, 10000);
  check_number("guidance", guidance, 0, 10000);
  check_number("seed", seed, 0, Number.MAX_SAFE_INTEGER, true);
  return { steps, start_step, temperature, guidance, schedule: schedule_of(schedule), generator: new Generator(seed) };
}

/* The mask schedule of a name, or of numbers drawn by hand. */
function schedule_of(schedule) {
  if (Array.isArray(schedule)) {
    expect(schedule.length > 1 && schedule.every((gamma) => gamma >= 0 && gamma <= 1), "schedule: expected numbers from 0 to 1");
    return drawn(schedule);
  }
  expect(Object.hasOwn(SCHEDULES, schedule), `schedule ${schedule}: expected one of ${Object.keys(SCHEDULES).join(", ")}`);
  return SCHEDULES[schedule];
}

/* The steps of decoding: the paper's loop, unless a setting is beyond the paper (choices.py's chosen_decoder). */
function loop_of(engine, fields, how) {
  const { models, settings } = engine, { label } = fields;
  const { decoder, sampling_temperature, top_p, guidance_start } = { ...settings.decoding, ...fields };
  if (decoder === "searched") {
    const policy = policy_of(settings, how.steps);
    return run(decoder_of(policy, models.critic), models.transformer, label, how);
  }
  expect(settings.decoders.includes(decoder), `decoder ${decoder}: expected one of ${settings.decoders.join(", ")}`);
  check_number("sampling_temperature", sampling_temperature, 1e-6, 10000);
  check_number("top_p", top_p, 1e-6, 1);
  check_number("guidance_start", guidance_start, 0, 1);
  if (decoder === "maskgit" && sampling_temperature === 1 && top_p === 1 && guidance_start === 0)
    return decode_steps(models.transformer, label, how);
  const beyond = { ...how, sampling_temperature, top_p, guidance_start, critic: models.critic };
  return run(named(decoder, beyond), models.transformer, label, how);
}

function policy_of(settings, steps) {
  expect(settings.policies[steps], `decoder searched: no policy for ${steps} steps; there are those for ${Object.keys(settings.policies).join(", ") || "none"}`);
  return settings.policies[steps];
}

/* The guidance weight at progress r, to count passes. */
function guidance_at(engine, fields, r) {
  const { decoder, steps, guidance = 0, guidance_start = 0 } = { ...engine.settings.decoding, ...fields };
  if (decoder === "searched") return decoder_of(policy_of(engine.settings, steps)).guidance(r);
  return late_guidance(guidance, guidance_start)(r);
}

function check_canvas(engine, { label = 0, tokens, region }) {
  const { transformer } = engine.models, N = transformer.num_tokens;
  check_number("label", label, 0, transformer.num_classes, true);
  expect(!tokens || tokens.length === N, `tokens: expected ${N} of them`);
  expect(!tokens || tokens.every((token) => Number.isInteger(token) && token >= 0 && token <= transformer.mask_id), "tokens: expected codes");
  expect(!region || (tokens && region.length === N), `region: expected ${N} flags, and tokens`);
}

function check_number(name, value, low, high, whole = false) {
  const fits = typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value));
  expect(fits, `${name} ${value}: expected ${whole ? "a whole number" : "a number"} from ${low} to ${high}`);
}

function expect(condition, text) {
  if (!condition) throw new Error(text);
}

// --- Pictures, as a canvas has them ---

function to_picture({ data, width, height }) {
  const bytes = new Uint8ClampedArray(width * height * 4).fill(255);
  data.forEach((value, i) => (bytes[Math.floor(i / 3) * 4 + (i % 3)] = value * 255));
  return { width, height, data: bytes };
}

function to_image(engine, { data, width, height }) {
  const side = engine.models.tokenizer.image_size;
  expect(width === side && height === side, `a picture of ${width}x${height}: expected ${side}x${side}`);
  return map_of(Float32Array.from({ length: width * height * 3 }, (_, i) => data[Math.floor(i / 3) * 4 + (i % 3)] / 255), height, width);
}

function cropped({ data, width }, left, top, wide, high) {
  const part = new Uint8ClampedArray(wide * high * 4);
  for (let row = 0; row < high; row++) {
    const from = ((top + row) * width + left) * 4;
    part.set(data.subarray(from, from + wide * 4), row * wide * 4);
  }
  return { width: wide, height: high, data: part };
}

if (typeof WorkerGlobalScope !== "undefined") {
  const receive = serve((answer) => postMessage(answer));
  onmessage = ({ data }) => receive(data);
}
