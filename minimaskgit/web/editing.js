/* Editing: repaint a region of a picture and keep the rest (editing.py, outpainting.py).

   image --encode--> tokens --region to [MASK]--> decode from step t0 --> tokens' --decode--> picture' --+
   region of tokens --blur--> alpha ---------------------------------------------------------------------+-> blend
   image ------------------------------------------------------------------------------------------------+
*/

const STEPS = 12, START_STEP = 2, DILATE = 1; // defaults for edits in the released code

/* The region, flags (N,), grown by `dilate` tokens on every side, also diagonally. */
function dilated(region, columns, dilate) {
  const rows = region.length / columns, grown = Array.from(region, () => false);
  region.forEach((inside, i) => {
    const row = Math.floor(i / columns), column = i % columns;
    const left = Math.max(column - dilate, 0), right = Math.min(column + dilate + 1, columns);
    for (let r = Math.max(row - dilate, 0); inside && r <= Math.min(row + dilate, rows - 1); r++)
      grown.fill(true, r * columns + left, r * columns + right);
  });
  return grown;
}

/* Blend generated pixels inside the mask with the original ones outside, with a soft rim of `radius` pixels. */
function blend(original, generated, mask, radius) {
  const alpha = soften(mask, original.height, original.width, radius);
  const data = original.data.map((value, i) => {
    const share = alpha[Math.floor(i / original.channels)];
    return value + share * (generated.data[i] - value);
  });
  return map_of(data, original.height, original.width);
}

/* Blur a mask (height, width) with a Gaussian cut off at ceil(3 radius): exactly 0 or 1 off the rim. */
function soften(mask, height, width, radius) {
  if (radius <= 0) return Float32Array.from(mask);
  const reach = Math.ceil(3 * radius), kernel = [];
  for (let i = -reach; i <= reach; i++) kernel.push(Math.exp(-0.5 * (i / radius) ** 2));
  const total = kernel.reduce((sum, value) => sum + value);
  const blurred = (x, at) => Float64Array.from(x, (_, i) => {
    const row = Math.floor(i / width), column = i % width;
    return kernel.reduce((sum, weight, k) => sum + (weight / total) * x[at(row, column, k - reach)], 0);
  });
  // The region continues beyond the picture's edge.
  const across = blurred(mask, (row, column, k) => row * width + clamp(column + k, 0, width - 1));
  return Float32Array.from(blurred(across, (row, column, k) => clamp(row + k, 0, height - 1) * width + column));
}

/* Paint the region's tokens into an image. blank: pixels without a picture yet, which the rim does not blend. */
function composite(tokenizer, image, tokens, region, blank) {
  const painted = tokenizer.decode(tokens), { downsampling: f, grid, image_size } = tokenizer;
  const start = blank ? image.data.map((value, i) => (blank[Math.floor(i / 3)] ? painted.data[i] : value)) : image.data;
  const mask = Array.from({ length: image_size ** 2 }, (_, i) =>
    Number(region[Math.floor(i / image_size / f) * grid + Math.floor((i % image_size) / f)]));
  return blend(map_of(start, image_size, image_size), painted, mask, Math.max(0, image_size / 16 - 1));
}

/* Decode the tokens of a region, flags (N,), again as class `label`; other tokens stay. loop: what decodes. */
function edit_steps(model, tokens, region, label, options) {
  const { loop = decode_steps, steps = STEPS, start_step = START_STEP, ...others } = options;
  const canvas = Int32Array.from(tokens, (token, i) => (region[i] ? model.mask_id : token));
  return loop(model, label, { tokens: canvas, steps, start_step, ...others });
}

/* The twin's edit: tokens of the region are sampled in raster order, and others kept; yields each token. */
function* autoregressive_edit(model, tokens, region, label, { generator }) {
  const memory = new KVCache(model);
  for (let position = 0, newest = model.num_codes + label; position < model.num_tokens; position++) {
    const logits = cached_step(model, newest, memory);
    const [drawn] = sample_categorical(logits, model.num_codes, generator);
    newest = region[position] ? drawn : tokens[position];
    yield { position, token: newest, probability: Math.exp(log_p_of(logits, [newest])[0]) };
  }
}

// --- outpainting.py ---

/* Continue an image beyond its edges by margins [left, top, right, bottom], in tokens, one overlapping window after
   another; yields the empty canvas and every step, {image, tokens}: maps larger than the model's grid.
*/
function* outpaint_steps(tokenizer, model, image, margins, label, { dilate = DILATE, ...options }) {
  const { downsampling: f } = tokenizer, pixels = margins.map((margin) => margin * f), [left, top] = margins;
  const canvas = padded(image, pixels, 0);
  const blank = padded(map_of(new Uint8Array(image.height * image.width), image.height, image.width), pixels, 1);
  const codes = map_of(tokenizer.encode(image), image.height / f, image.width / f);
  let tokens = padded(codes, margins, model.mask_id);
  const unknown = dilated(tokens.data.map((token) => token === model.mask_id), tokens.width, dilate);
  tokens = map_of(tokens.data.map((token, i) => (unknown[i] ? model.mask_id : token)), tokens.height, tokens.width);
  yield { image: canvas, tokens };
  yield* paint_windows(tokenizer, model, canvas, tokens, blank, [top, left], label, options);
}

/* Decode the unknown tokens of a canvas, one overlapping window after another, from the one at `start` outwards. */
function* paint_windows(tokenizer, model, canvas, tokens, blank, start, label, { stride, ...options }) {
  const { downsampling: f, grid } = tokenizer, size = [tokens.height, tokens.width];
  for (const [row, column] of windows(start, size, grid, stride || Math.max(1, grid >> 1))) {
    const here = [row, column, grid, grid], there = here.map((tokens) => tokens * f);
    const window = crop(tokens, ...here).data, region = Array.from(window, (token) => token === model.mask_id);
    if (!region.some(Boolean)) continue;
    const before = crop(canvas, ...there), empty = crop(blank, ...there).data;
    let now;
    for (const step of edit_steps(model, window, region, label, options)) {
      const painted = composite(tokenizer, before, step.sampled, region, empty);
      now = { image: pasted(canvas, painted, f * row, f * column) };
      now.tokens = pasted(tokens, map_of(step.tokens, grid, grid), row, column);
      yield now;
    }
    ({ image: canvas, tokens } = now);
    blank = pasted(blank, map_of(new Uint8Array(empty.length), grid * f, grid * f), f * row, f * column);
  }
}

/* Repaint a region, flags, of a picture of any size; yields every step, {image, tokens}. Python edits one window only.

   A region that fits into a window is repainted in one, with the region in its middle as far as the edges allow.
*/
function* repaint_steps(tokenizer, model, image, tokens, region, label, options) {
  const { downsampling: f, grid } = tokenizer, places = [...region.keys()].filter((i) => region[i]);
  const along = [places.map((i) => Math.floor(i / tokens.width)), places.map((i) => i % tokens.width)];
  const [first, last] = [Math.min, Math.max].map((end) => along.map((ones) => ones.reduce((a, b) => end(a, b))));
  const size = [tokens.height, tokens.width];
  const start = size.map((length, axis) => clamp((first[axis] + last[axis] + 1 - grid) >> 1, 0, length - grid));
  const one = first.every((place, axis) => last[axis] - place < grid);
  // Where a second window begins there must be no rim of the old picture, because it would show inside of the region.
  const blank = map_of(new Uint8Array(image.height * image.width), image.height, image.width);
  if (!one) blank.data.forEach((_, i) => {
    const row = Math.floor(i / image.width / f), column = Math.floor((i % image.width) / f);
    blank.data[i] = region[row * tokens.width + column];
  });
  const masked = tokens.data.map((token, i) => (region[i] ? model.mask_id : token));
  yield* paint_windows(tokenizer, model, image, map_of(masked, ...size), blank, start, label, options);
}

/* Corners [row, column] of windows of grid x grid tokens that cover a canvas, from `start` outwards. */
function windows(start, canvas, grid, stride) {
  const [rows, columns] = start.map((first, axis) => {
    const last = canvas[axis] - grid, reach = Math.ceil(canvas[axis] / stride), origins = new Set();
    for (let k = -reach; k <= reach + 1; k++) origins.add(clamp(Math.min(first, last) + k * stride, 0, last));
    return [...origins].sort((a, b) => a - b);
  });
  const distance = ([row, column]) => Math.hypot(row - start[0], column - start[1]);
  const corners = rows.flatMap((row) => columns.map((column) => [row, column]));
  return corners.sort((a, b) => distance(a) - distance(b)); // equally far ones stay row after row
}

/* The part of a map at (row, column). */
function crop(x, row, column, height, width) {
  const part = new x.data.constructor(height * width * x.channels), length = width * x.channels;
  for (let r = 0; r < height; r++) {
    const from = ((row + r) * x.width + column) * x.channels;
    part.set(x.data.subarray(from, from + length), r * length);
  }
  return map_of(part, height, width);
}

/* A copy of a map with a part at (row, column). */
function pasted(x, part, row, column) {
  const data = x.data.slice(), length = part.width * x.channels;
  for (let r = 0; r < part.height; r++)
    data.set(part.data.subarray(r * length, (r + 1) * length), ((row + r) * x.width + column) * x.channels);
  return map_of(data, x.height, x.width);
}

/* A map with margins [left, top, right, bottom] of one value around it. */
function padded(x, [left, top, right, bottom], value) {
  const height = top + x.height + bottom, width = left + x.width + right;
  const data = new x.data.constructor(height * width * x.channels).fill(value);
  return pasted(map_of(data, height, width), x, top, left);
}
