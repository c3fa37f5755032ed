/* The engine as a worker: it answers requests, so that the page stays responsive while the models compute.

   Request {id, type, ...}; the worker answers {id, type: "step", ...} any number of times, and then once with
   {id, type: "done", ...}, {id, type: "cancelled"} or {id, type: "error", text}. client.js turns this into promises.

   type      fields                                          each step                           done
   load      packed: ArrayBuffer, settings                   -                                   -
   decode    label, decoder, steps, schedule, temperature,   step, tokens, sampled, probability, steps
             sampling_temperature, top_p, guidance,          confidence, taken, passes,
             guidance_start, rounding, seed,                 milliseconds, picture
             tokens + region, start_step, pictures
   rival     label, seed, cache, tokens + region, pictures   position, token, probability,       -
                                                             passes, milliseconds, picture
   look      tokens, label, position, guidance, top, model   -                                   codes, probabilities,
                                                                                                 attention, doubt
   picture   tokens                                          -                                   picture
   patches   codes                                           - (a new code's patch is there)     patches
   encode    picture                                         -                                   tokens, picture
   extend    picture, margins, label, and those of decode    tokens, rows, columns, passes,      rows, columns,
             but tokens and region                           milliseconds, picture               tokens, picture
   repaint   picture, tokens, region, label, and the         as extend                           as extend
             others of decode; a picture of any size
   cancel    of: the id to stop                              -                                   -

   label: 0..C-1, or C for "no class". steps: T. schedule: a name, or numbers: gamma at equal distances, r = 0 to 1.
   decoder: a name of settings.decoders; "searched" is the policy for this T. seed: as on the command line.
   tokens (N,): codes in raster order; with [MASK], K + C, only in `tokens` of a step, and in `look`.
   region (N,): true for the tokens to paint anew (class edits, inpainting), usually `dilated` by one.
   start_step: where to enter the schedule. What is not given is the run's own setting; in edits 12 steps from step 2.
   sampled (N,): the full guess. probability (N,): of each token when it was drawn. confidence (N,): what decides which
   are kept, noise included; Infinity where known. taken (N,): what a correction masks again; not every decoder has it.
   passes: of the transformer so far. milliseconds: of computing so far, without pictures and without waiting.
   picture: {width, height, data: RGBA bytes}, as ImageData has them. pictures: one in every step; 16 of the twin.
   attention: for each layer, for each head, weights (1 + N,) from `position` to the class token and all tokens.
   doubt: the critic's probability that the token at `position` is wrong; null without a critic or a token.
   patches: pictures of each code's own patch: what the decoder paints in the middle of a canvas of that code alone.
   margins: [left, top, right, bottom], in tokens, by which to extend a picture.
*/

const REQUESTS = {
  /* The first request builds the models. */
  async load(engine, { packed, settings }) {
    engine.settings = settings;
    engine.models = await unpack(packed, settings);
  },

  *decode(engine, fields) {
    const { transformer, tokenizer } = engine.models, { label, tokens, region, pictures } = fields;
    check_label(engine, label);
    check_canvas(engine, fields);
    const { loop, ...how } = decoding_options(engine, fields);
    const work = region
      ? edit_steps(transformer, tokens, region, label, { loop, ...how })
      : loop(transformer, label, how);
    let step = how.start_step;
    for (const each of work)
      yield { step: ++step, ...each, picture: pictures && (() => to_picture(tokenizer.decode(each.sampled))) };
    return { steps: how.steps };
  },

  *rival(engine, { label, seed = 0, cache = true, tokens, region, pictures }) {
    const { autoregressive: model, tokenizer } = engine.models;
    expect(model, "this run has no autoregressive twin");
    check_label(engine, label);
    check_canvas(engine, { tokens, region }, "codes");
    check_number("seed", seed, 0, Number.MAX_SAFE_INTEGER, true);
    const generator = new Generator(seed);
    const work = region
      ? autoregressive_edit(model, tokens, region, label, { generator })
      : raster_steps(model, label, { cache, generator });
    const canvas = Int32Array.from({ length: model.num_tokens }, (_, i) => (region ? tokens[i] : 0));
    const often = Math.ceil(model.num_tokens / 16); // a picture can take longer than a token
    for (const each of work) {
      canvas[each.position] = each.token;
      const due = (each.position + 1) % often === 0 || each.position === model.num_tokens - 1;
      yield { ...each, picture: pictures && due && (() => to_picture(tokenizer.decode(canvas))) };
    }
  },

  *look(engine, { tokens, label, position, guidance = 0, top = 5, model: name = "transformer" }) {
    const model = engine.models[name], { critic } = engine.models, watch = { outputs: [], attention: [] };
    expect(model, `this run has no ${name}`);
    check_label(engine, label);
    check_canvas(engine, { tokens });
    check_guidance(engine, guidance);
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
    check_canvas(engine, { tokens }, "codes");
    return { picture: to_picture(engine.models.tokenizer.decode(tokens)) };
  },

  *patches(engine, { codes }) {
    const { tokenizer } = engine.models, { grid, num_tokens, downsampling: f } = tokenizer;
    const middle = Math.floor(grid / 2) * f;
    for (const code of codes) {
      check_number("code", code, 0, tokenizer.num_codes - 1, true);
      const paint = () => crop(tokenizer.decode(new Int32Array(num_tokens).fill(code)), middle, middle, f, f);
      if (engine.patches[code]) continue;
      engine.patches[code] = to_picture(paint());
      yield {}; // a canvas for each code takes long: let other requests in
    }
    return { patches: codes.map((code) => engine.patches[code]) };
  },

  *encode(engine, { picture }) {
    const { tokenizer } = engine.models, tokens = tokenizer.encode(to_image(engine, picture));
    return { tokens, picture: to_picture(tokenizer.decode(tokens)) };
  },

  *extend(engine, fields) {
    const { transformer, tokenizer } = engine.models, { label, margins } = fields;
    check_label(engine, label);
    for (const margin of margins) check_number("margin", margin, 0, 4 * tokenizer.grid, true);
    const image = to_image(engine, fields.picture, true), how = decoding_options(engine, { region: [], ...fields });
    return yield* painted(outpaint_steps(tokenizer, transformer, image, margins, label, how), fields);
  },

  *repaint(engine, fields) {
    const { transformer, tokenizer } = engine.models, { label, tokens, region } = fields, f = tokenizer.downsampling;
    const image = to_image(engine, fields.picture, true), size = [image.height / f, image.width / f];
    check_label(engine, label);
    check_canvas(engine, fields, "codes", size[0] * size[1]);
    expect(region?.some(Boolean), "region: expected a token or more");
    const how = decoding_options(engine, fields), canvas = map_of(Int32Array.from(tokens), ...size);
    return yield* painted(repaint_steps(tokenizer, transformer, image, canvas, region, label, how), fields);
  },
};

/* The steps {image, tokens} of a picture of any size, as they are posted; then the last. */
function* painted(steps, { pictures }) {
  const shown = ({ data, height, width }) => ({ tokens: data, rows: height, columns: width });
  let last;
  for (last of steps) {
    const { image, tokens } = last;
    yield { ...shown(tokens), picture: pictures && (() => to_picture(image)) };
  }
  return { ...shown(last.tokens), picture: to_picture(last.image) };
}

/* A function that answers requests with `post`; the models live in `engine`. */
function serve(post) {
  const engine = { models: {}, patches: {} }, cancelled = new Set();
  return async function receive({ id, type, ...fields }) {
    if (type === "cancel") return cancelled.add(fields.of);
    try {
      expect(Object.hasOwn(REQUESTS, type), `unknown request ${type}`);
      expect(type === "load" || engine.models.transformer, "the models are not loaded yet");
      const work = REQUESTS[type](engine, fields);
      if (type === "load") return post({ id, type: "done", ...(await work) });
      let milliseconds = 0, passes = 0, rested = performance.now();
      for (;;) {
        const start = performance.now(), before = passes_of(engine), { value, done } = work.next();
        milliseconds += performance.now() - start;
        passes += passes_of(engine) - before;
        if (done) return post({ id, type: "done", ...value });
        const picture = value.picture ? value.picture() : null; // after the clock has stopped
        post({ id, type: "step", ...value, passes, milliseconds, picture });
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

const passes_of = ({ models: { transformer, autoregressive } }) => transformer.passes + (autoregressive?.passes ?? 0);

// --- What the fields mean ---

/* Fields that are not given: the run's own settings, and for an edit those of the released code. */
function with_defaults({ settings, models }, fields) {
  const steps = Math.min(STEPS, models.transformer.num_tokens), start_step = Math.min(START_STEP, steps - 1);
  const edit = fields.region ? { steps, start_step } : {};
  const given = Object.entries(fields).filter(([_, value]) => value !== undefined && value !== null);
  return { ...settings.decoding, seed: 0, start_step: 0, ...edit, ...Object.fromEntries(given) };
}

/* The decoding loop and its options, checked: the paper's own, unless a setting is beyond the paper (choices.py). */
function decoding_options(engine, fields) {
  const { transformer, critic } = engine.models, settings = with_defaults(engine, fields);
  const { decoder, steps, start_step, temperature, guidance, seed } = settings;
  const { sampling_temperature, top_p, guidance_start, rounding } = settings;
  check_number("steps", steps, 1, transformer.num_tokens, true);
  check_number("start_step", start_step, 0, steps - 1, true);
  check_number("temperature", temperature, 0, 10000);
  check_number("seed", seed, 0, Number.MAX_SAFE_INTEGER, true);
  check_number("sampling_temperature", sampling_temperature, 1e-6, 10000);
  check_number("top_p", top_p, 1e-6, 1);
  check_number("guidance_start", guidance_start, 0, 1);
  const schedule = schedule_of(settings.schedule), how = { steps, start_step, generator: new Generator(seed) };
  if (decoder === "searched") {
    const chosen = decoder_of(policy_of(engine, steps), critic);
    return { loop: (...rest) => run(chosen, ...rest), ...how };
  }
  check_guidance(engine, guidance);
  expect(!guidance || guidance_start < 1, "guidance_start 1: guidance would never begin; expected less than 1");
  const names = engine.settings.decoders;
  expect(names.includes(decoder), `decoder ${decoder}: expected one of ${names.join(", ")}`);
  if (decoder === "maskgit" && sampling_temperature === 1 && top_p === 1 && guidance_start === 0)
    return { loop: decode_steps, ...how, schedule, temperature, guidance, count: ROUNDINGS[rounding] };
  const chosen = named(decoder, { ...settings, schedule, critic });
  return { loop: (...rest) => run(chosen, ...rest), ...how };
}

/* A model that was always trained with a class does not know what "no class" means. */
function check_guidance({ settings }, guidance) {
  check_number("guidance", guidance, 0, 10000);
  const trained = settings.class_dropout > 0;
  expect(!guidance || trained, `guidance ${guidance}: this run never trained without a class; expected 0`);
}

/* The mask schedule of a name, or of numbers drawn by hand. */
function schedule_of(schedule) {
  if (!Array.isArray(schedule)) {
    const names = Object.keys(SCHEDULES);
    expect(names.includes(schedule), `schedule ${schedule}: expected one of ${names.join(", ")}`);
    return SCHEDULES[schedule];
  }
  const fits = schedule.length > 1 && schedule.every((gamma) => gamma >= 0 && gamma <= 1);
  expect(fits, "schedule: expected two numbers or more, from 0 to 1");
  return drawn(schedule);
}

/* The searched policy for T steps. */
function policy_of({ settings: { policies } }, steps) {
  const there = Object.keys(policies).join(", ") || "none";
  expect(policies[steps], `decoder searched: no policy for ${steps} steps; for these there is one: ${there}`);
  return policies[steps];
}

const check_label = ({ models }, label) => check_number("label", label, 0, models.transformer.num_classes, true);

/* Tokens may be [MASK], unless `what` is "codes". */
function check_canvas(engine, { tokens, region }, what = "tokens", N = engine.models.transformer.num_tokens) {
  const { num_codes: K, mask_id } = engine.models.transformer;
  expect(!tokens || tokens.length === N, `${what}: expected ${N} of them`);
  for (const token of tokens || []) {
    const is_code = Number.isInteger(token) && token >= 0 && token < K;
    expect(is_code || (token === mask_id && what === "tokens"), `${what}: no ${token}`);
  }
  expect(!region || (tokens && region.length === N), `region: expected ${N} flags, and tokens`);
}

function check_number(name, value, low, high, whole = false) {
  const fits = typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value));
  const given = Number.isNaN(value) ? name : `${name} ${value}`; // NaN is a field that was left empty
  expect(fits, `${given}: expected ${whole ? "a whole number" : "a number"} from ${low} to ${high}`);
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

/* A picture as an image of the model's size, or, with `any`, of any whole number of tokens. */
function to_image(engine, { data, width, height }, any = false) {
  const { image_size: side, downsampling: f } = engine.models.tokenizer;
  const most = any ? 9 * side : side, fits = (length) => length >= side && length <= most && length % f === 0;
  const expected = any ? `multiples of ${f} from ${side} to ${most}` : `${side}x${side}`;
  expect(fits(width) && fits(height), `a picture of ${width}x${height}: expected ${expected}`);
  const value = (_, i) => data[Math.floor(i / 3) * 4 + (i % 3)] / 255;
  return map_of(Float32Array.from({ length: width * height * 3 }, value), height, width);
}

if (typeof WorkerGlobalScope !== "undefined") {
  const receive = serve((answer) => postMessage(answer));
  onmessage = ({ data }) => receive(data);
}
